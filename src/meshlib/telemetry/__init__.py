"""Listeners: what can be told about a mesh, in the forms in which others want to hear it."""
