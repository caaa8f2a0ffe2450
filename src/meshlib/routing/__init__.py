"""Routing: from a name to a cluster, by paths, dtabs, rules and splits. Pure: no I/O, no clock, no random source."""
