"""An agent type for Conclave that finds which company or person is meant by a name."""

from .agent import NameMatcher as NameMatcher
