"""The plugin agent hosts agent types that come from elsewhere: from installed packages and from a folder of files."""
