-- The thresholds of budgets that were crossed, each when it was last.
CREATE TABLE budget_crossing (
    budget TEXT NOT NULL,
    threshold REAL NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (budget, threshold)
) STRICT, WITHOUT ROWID;
