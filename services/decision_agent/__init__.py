"""The decision agent: ranks alternatives by several methods, and says why, by how much, and how firmly."""
