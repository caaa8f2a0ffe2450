"""Where endpoints and routes come from. Each source yields full states, never deltas."""
