"""What an audit found, for people: lines on a terminal, one page, and JSON for programs."""
