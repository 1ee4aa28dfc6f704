"""Keeps API keys: creates, rotates and revokes them when told to, over the bus or by ``python -m services keys``, and
gives a new installation its first."""
