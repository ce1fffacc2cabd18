"""Reports: records -> tidy pandas tables -> scores, plots, pages. Never imports a model.

archive      records of others, and what may be shown of ours
statistics   scores, intervals and paired tests
tidy         from records to tables, a row per cell or per line
leaderboard  who is ranked with whom, and its page     gate   whether anything got worse
plots        a file each
summary      of one run     comparison   of two
"""
