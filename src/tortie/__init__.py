"""Tortie: routed networking and a distributed firewall for workloads."""

__version__ = "0.3.0"
