"""Records as others get them: reference records, what may be shared, what can be trusted."""
