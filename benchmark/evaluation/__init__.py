"""The attack proposes, this decides: verdicts, costs, and what makes a model doubtful."""
