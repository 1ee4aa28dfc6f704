"""What a process shows of itself: metrics, traces, health, and reports to the monitor."""
