"""Hosting agents: commands come in, an agent performs them, results go out."""
