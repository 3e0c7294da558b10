-- Tokens of kinds that have prices of their own, who says what a call costs, and what it would have cost where it
-- was made under a subscription.
ALTER TABLE call ADD COLUMN cache_creation_1h_input_tokens INTEGER;
ALTER TABLE call ADD COLUMN audio_input_tokens INTEGER;
ALTER TABLE call ADD COLUMN image_input_tokens INTEGER;
ALTER TABLE call ADD COLUMN audio_output_tokens INTEGER;
ALTER TABLE call ADD COLUMN image_output_tokens INTEGER;
ALTER TABLE call ADD COLUMN list_cost_usd REAL;
ALTER TABLE call ADD COLUMN cost_source TEXT;
ALTER TABLE hour ADD COLUMN list_cost_usd REAL NOT NULL DEFAULT 0.0;
