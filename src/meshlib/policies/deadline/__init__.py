"""How long a call may take: timeouts, inherited deadlines, admission by deadline."""
