#!/usr/bin/env python3
"""Writes prices.toml anew from the price list that LiteLLM publishes, to be looked through and committed.

    pip download litellm --no-deps
    unzip -p litellm-*.whl litellm/model_prices_and_context_window_backup.json > list.json
    ./refresh.py list.json "LiteLLM 1.109.1" > prices.toml

What is left out: prices of what is not tokens (seconds, pixels, pages, searches), entries without any price
(there, zero is said of what is not known), and models whose price depends on what a call does not show (the
region of a deployment, a commitment).
"""

import datetime
import json
import re
import sys
from collections import Counter

# Our name of a provider: LiteLLM's, beginnings of names that are not the provider's, its page of prices.
PROVIDERS = {
    "openai": (["openai", "text-completion-openai"], [], "https://developers.openai.com/api/docs/pricing"),
    "anthropic": (["anthropic"], [], "https://platform.claude.com/docs/en/about-claude/pricing"),
    "gcp.gemini": (["gemini"], ["gemini/"], "https://ai.google.dev/gemini-api/docs/pricing"),
    "gcp.vertex_ai": (["vertex_ai*"], ["vertex_ai/"], "https://cloud.google.com/vertex-ai/generative-ai/pricing"),
    "aws.bedrock": (["bedrock", "bedrock_converse", "bedrock_mantle"], ["bedrock_mantle/"], "https://aws.amazon.com/bedrock/pricing/"),
    "azure.ai.openai": (["azure", "azure_text"], ["azure/"], "https://azure.microsoft.com/pricing/details/azure-openai/"),
    "azure.ai.inference": (["azure_ai", "azure"], ["azure_ai/", "azure/"], "https://azure.microsoft.com/pricing/details/ai-foundry-models/"),
    "x_ai": (["xai"], ["xai/"], "https://docs.x.ai/docs/models"),
    "mistral_ai": (["mistral", "codestral", "text-completion-codestral"], ["mistral/", "codestral/", "text-completion-codestral/"], "https://mistral.ai/pricing"),
    "deepseek": (["deepseek"], ["deepseek/"], "https://api-docs.deepseek.com/quick_start/pricing"),
    "cohere": (["cohere", "cohere_chat"], ["cohere/"], "https://cohere.com/pricing"),
    "groq": (["groq"], ["groq/"], "https://groq.com/pricing"),
    "perplexity": (["perplexity"], ["perplexity/"], "https://docs.perplexity.ai/getting-started/pricing"),
    "together_ai": (["together_ai"], ["together_ai/"], "https://www.together.ai/pricing"),
    "fireworks_ai": (["fireworks_ai", "fireworks_ai-embedding-models"], ["fireworks_ai/"], "https://fireworks.ai/pricing"),
    "cerebras": (["cerebras"], ["cerebras/"], "https://www.cerebras.ai/pricing"),
    "z_ai": (["zai"], ["zai/"], "https://docs.z.ai/guides/overview/pricing"),
    "moonshot_ai": (["moonshot"], ["moonshot/"], "https://platform.moonshot.ai/docs/pricing/chat"),
    "alibaba_cloud": (["dashscope"], ["dashscope/"], "https://www.alibabacloud.com/help/en/model-studio/models"),
    "deepinfra": (["deepinfra"], ["deepinfra/"], "https://deepinfra.com/pricing"),
    "sambanova": (["sambanova"], ["sambanova/"], "https://cloud.sambanova.ai/plans/pricing"),
    "novita": (["novita"], ["novita/"], "https://novita.ai/pricing"),
    "nebius": (["nebius"], ["nebius/"], "https://nebius.com/prices-ai-studio"),
    "hyperbolic": (["hyperbolic"], ["hyperbolic/"], "https://docs.hyperbolic.xyz/docs/hyperbolic-ai-inference-pricing"),
    "lambda": (["lambda_ai"], ["lambda_ai/"], "https://lambda.ai/inference"),
    "baseten": (["baseten"], ["baseten/"], "https://www.baseten.co/pricing/"),
    "scaleway": (["scaleway"], ["scaleway/"], "https://www.scaleway.com/en/pricing/model-as-a-service/"),
    "crusoe": (["crusoe"], ["crusoe/"], "https://www.crusoe.ai/cloud/pricing"),
    "featherless": (["featherless_ai"], ["featherless_ai/"], "https://featherless.ai/"),
    "inception": (["inception", "text-completion-inception"], ["inception/", "text-completion-inception/"], "https://docs.inceptionlabs.ai/get-started/models"),
    "voyage_ai": (["voyage"], ["voyage/"], "https://docs.voyageai.com/docs/pricing"),
    "jina_ai": (["jina_ai"], ["jina_ai/"], "https://jina.ai/pricing"),
    "ai21": (["ai21"], ["ai21/"], "https://www.ai21.com/pricing/"),
    "ibm.watsonx.ai": (["watsonx"], ["watsonx/"], "https://www.ibm.com/products/watsonx-ai/pricing"),
    "cloudflare": (["cloudflare"], ["cloudflare/"], "https://developers.cloudflare.com/workers-ai/platform/pricing/"),
    "snowflake": (["snowflake"], ["snowflake/"], "https://www.snowflake.com/legal-files/CreditConsumptionTable.pdf"),
    "heroku": (["heroku"], ["heroku/"], "https://www.heroku.com/pricing/"),
    "github_copilot": (["github_copilot"], ["github_copilot/"], "https://docs.github.com/en/copilot/reference/copilot-billing/models-and-pricing"),
    "vercel_ai_gateway": (["vercel_ai_gateway"], ["vercel_ai_gateway/"], "https://vercel.com/ai-gateway/models"),
}

# LiteLLM's keys without their ends: ours.
KINDS = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "cache_read_input_audio_token_cost": "audio_cache_read",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_image_token": "image_output",
}
TIERS = {"": "standard", "_batches": "batch", "_flex": "flex", "_priority": "priority"}
KEY = re.compile(
    "^(%s)(?:_above_(\\d+)k_tokens)?(%s)$" % ("|".join(sorted(KINDS, key=len, reverse=True)), "|".join(TIERS))
)


def number(usd_per_token):
    """US dollars a million tokens, to a millionth of a dollar."""
    text = f"{round(usd_per_token * 1e12) / 1e6:.6f}".rstrip("0").rstrip(".")
    return text or "0"


# What was seen to be wrong, by powers of ten.
WRONG = {
    "core42/jais-13b-chat",
    "embed-multilingual-light-v3.0",
    "jais-30b-chat",
    "accounts/fireworks/models/flux-1-dev-controlnet-union",
}


def tariff(entry):
    """The prices by tier and by length of the prompt; nothing where tokens are not all that is paid."""
    images = entry.get("mode") in ("image_generation", "image_edit", "video_generation")
    if "input_cost_per_request" in entry or images and "output_cost_per_image_token" not in entry:
        return None
    found = {}
    for key, value in entry.items():
        match = KEY.match(key)
        if match and isinstance(value, (int, float)):
            kind, above, tier = match.groups()
            lengths = found.setdefault(TIERS[tier], {})
            lengths.setdefault(int(above or 0) * 1000, {})[KINDS[kind]] = value
    standard = found.get("standard", {}).get(0, {})
    if not any(standard.get(kind) for kind in ("input", "output", "audio_input", "image_output")):
        return None
    return found


def table(pairs):
    return "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }"


def rates(prices):
    return [(kind, number(prices[kind])) for kind in KINDS.values() if kind in prices]


def lengths(of):
    """The prices of one tier, those of longer prompts inside."""
    pairs = rates(of.get(0, {}))
    longer = sorted(tokens for tokens in of if tokens)
    if longer:
        steps = [table([("tokens", tokens), *rates(of[tokens])]) for tokens in longer]
        pairs.append(("above", "[" + ", ".join(steps) + "]"))
    return pairs


def row(found, names):
    pairs = [("names", "[" + ", ".join(f'"{name}"' for name in names) + "]"), *lengths(found["standard"])]
    # One that has no price of its own for the prompt is not whole.
    pairs += [(tier, table(lengths(found[tier]))) for tier in ("batch", "flex", "priority") if 0 in found.get(tier, {})]
    return table(pairs)


def main():
    entries = json.load(open(sys.argv[1]))
    print("# What tokens cost: US dollars a million, by provider and model. Facts, written by refresh.py from")
    print(f"# {sys.argv[2]}'s model_prices_and_context_window.json, where each has its source; pages of the")
    print("# providers themselves are named here. A kind that has no price costs what the kind that it is part of costs.")
    print(f'\nfrom = "{sys.argv[2]}"\nretrieved = {datetime.date.today().isoformat()}')
    for provider, (theirs, beginnings, page) in PROVIDERS.items():
        by_name, rank = {}, {}
        for name, entry in entries.items():
            of = str(entry.get("litellm_provider"))
            position = next((i for i, it in enumerate(theirs) if it == of or it.endswith("*") and of.startswith(it[:-1])), None)
            if position is None:
                continue
            beginning = next((it for it in beginnings if name.startswith(it)), "")
            short = name[len(beginning):].lower()
            # What is left with a slash are prices of regions and commitments, but for names of models with one.
            if provider.startswith(("azure", "aws")) and ("/" in short or short == "claude-sonnet-4-5-20250929-v1:0"):
                continue
            if re.search(r"(^|[-_])\d+(\.\d+)?b-(to|\d)|-default$|^(up-to|above)", short) and theirs[0] in ("fireworks_ai", "together_ai"):
                continue
            found = None if short in WRONG else tariff(entry)
            mine = (position, not beginning)
            if found and (short not in rank or mine < rank[short]):
                by_name[short], rank[short] = found, mine
        groups = {}
        for name, found in by_name.items():
            groups.setdefault(json.dumps(found, sort_keys=True), (found, []))[1].append(name)
        if not groups:
            print(f"{provider}: nothing", file=sys.stderr)
            continue
        names = ", ".join(f'"{name}"' for name in theirs)
        print(f'\n[[provider]]\nname = "{provider}"\nlitellm = [{names}]\nsource = "{page}"\nmodels = [')
        for found, names in sorted(groups.values(), key=lambda group: min(group[1])):
            print(f"    {row(found, sorted(names))},")
        print("]")


main()
