"""Records that somebody hands in: judged against what holds here, and asked again."""
