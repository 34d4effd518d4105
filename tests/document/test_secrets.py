"""Secrets are found, never repeated, and ordinary text is left alone.

The samples are put together here so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import time

import pytest
from tests.document.marked import HEAD

from dlm_engine.document import parse
from dlm_engine.document.secrets import find_secrets

MIXED = "aZ3kQ9xWv7Lp2RtY8mBc5NdF1gHj4SuE6oKi0Tq"
SECRETS = [
    ("AKI" + "AQ5WTJ6Y3ZKMN2PVR", "AWS"),
    ("gh" + "p_" + MIXED[:36], "GitHub"),
    ("github" + "_pat_" + MIXED[:22] + "_" + (MIXED * 2)[:59], "GitHub"),
    ("glp" + "at-" + MIXED[:20], "GitLab"),
    ("xo" + "xb-123456789012-" + MIXED[:24], "Slack"),
    ("https://hooks.slack" + ".com/services/T0ABCDEF1/B0ABCDEF2/" + MIXED[:24], "Slack"),
    ("AI" + "za" + MIXED[:35], "Google"),
    ("GOC" + "SPX-" + MIXED[:28], "Google"),
    ("s" + "k-" + (MIXED * 2)[:48], "OpenAI"),
    ("s" + "k-proj-" + (MIXED * 3)[:80], "OpenAI"),
    ("s" + "k-ant-api03-" + (MIXED * 3)[:90], "Anthropic"),
    ("h" + "f_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZabcdEfgH", "Hugging Face"),
    ("sk_" + "live_" + MIXED[:24], "Stripe"),
    ("np" + "m_" + MIXED[:36], "npm"),
    ("-----BEGIN RSA " + "PRIVATE KEY-----", "private key"),
    ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", "private key"),
    ("ey" + "J" + MIXED[:30] + ".ey" + "J" + MIXED[:30] + "." + MIXED, "JWT"),
    ("Account" + "Key=" + (MIXED * 3)[:86] + "==", "Azure"),
]
ASSIGNED = [
    "password: hunter2Xq9!kd",
    "password = 'tR7#mQ2z!pLw'",
    '"db_password": "tR7-mQ2z-pLw9"',
    "API_KEY=" + MIXED[:24],
    "apiKey: " + MIXED[:24],
    "client_secret = " + "9f86d081884c7d659a2feaa0c55ad015",
    "export AUTH_TOKEN=" + MIXED,
]
HARMLESS = [
    "The password: is something you should never write down.",
    "password: changeme_please1",
    "password: your-password-here1",
    "password = getpass.getpass()",
    "api_key = os.environ['API_KEY_1234567']",
    "token: tokenizer.json",
    "The key: understanding2things",
    "key: value1234567890",
    "primary_key: user_id_2024_table",
    "of the api\nkey: " + MIXED[:24],
    "max_new_tokens: 1234567890123",
    "secret: abcdefghijklmnop",
    "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "AKIAIOSFODNN7EXAMPLE",
    "https://user:password@example.org/",
    "https://example.org:8080/path@2x.png",
    "sk-learn and sk-something-else-entirely, hf_hub_download, ghp_short",
    "-----BEGIN PUBLIC KEY-----",
    "### Q\nWhat is a token?\n### A\nA token: the smallest unit a tokeniser knows.",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
]


@pytest.mark.parametrize(("secret", "kind"), SECRETS)
@pytest.mark.parametrize("around", ["{}", "use {} here", "x='{}'", "(é {})\r\n"])
def test_issued_secrets(secret: str, kind: str, around: str) -> None:
    text = around.replace("{}", secret)
    (problem,) = find_secrets(text)
    assert kind in problem.message
    assert secret not in problem.message
    assert text[problem.span.start : problem.span.end] in secret
    assert problem.severity.value == "warning"


@pytest.mark.parametrize("text", ASSIGNED)
def test_assigned_secrets(text: str) -> None:
    (problem,) = find_secrets(f"before\n{text}\nafter")
    found = f"before\n{text}\nafter"[problem.span.start : problem.span.end]
    assert len(found) >= 10
    assert found in text
    assert found not in problem.message


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text(text: str) -> None:
    assert find_secrets(text) == []


def test_password_in_an_address() -> None:
    (problem,) = find_secrets("postgres" + "://admin:tR7mQ2z9pLw@db.internal/x")
    assert "address" in problem.message


def test_secrets_are_found_anywhere_in_a_document() -> None:
    secret = SECRETS[1][0]
    text = (
        HEAD.replace("smollm2-135m", f"x # {secret}")
        + f"::instruction::\n### Q\na\n### A\n{secret}\n"
    )
    assert [p.code for p in parse(text)[1]] == ["secret", "secret"]


@pytest.mark.parametrize(
    "unit", ["password: ", "eyJaaaaaaaaaaaaaa", "https://a:", "xoxb-", "sk-", "A", "key=" + "a" * 9]
)
def test_scan_is_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        find_secrets(text)
        return time.process_time() - start

    # Four times the text: 4x when linear, 16x when quadratic.
    assert seconds(200_000) < 9 * max(seconds(50_000), 0.01)
