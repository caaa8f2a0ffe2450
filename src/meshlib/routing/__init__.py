"""From a name to a cluster: paths, dtabs, rules and splits. Pure: no I/O, no clock, no dice of its own."""
