"""Reports: records -> one tidy pandas table -> scores, tables, plots. Never imports a model.

frame (the table) · scores (intervals and aggregates) · headline (over attacks) · findings
(what looks wrong) · tables, summary, console (for readers) · plots · report (writes them all).
scored (verdicts by cell) · paired (two results on the same images) · regression, baseline, gate
(whether anything got worse). metrics (published ones) · board, ranking (the leaderboard's numbers)
· comparable, trust (who may be ranked with whom) · paths, shareable (no folder in what is shown)
· board_sources, submission, reference (records of others) · board_page, board_files, leaderboard.
"""
