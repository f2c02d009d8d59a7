"""The tables that scripts/bench prints, a module for each kind."""
