"""What Conclave's services say to each other: message classes, their addresses, and workflow definitions."""
