"""The leaderboard: one page, and the same as files."""
