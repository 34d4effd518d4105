"""Every way to write the settings is understood; what is wrong is said once and kept out."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tests.server.harness import GOOD, Client

from dlm_engine.jobs import KEPT_SAVES
from dlm_server.settings import SETTINGS, Settings, resolve

URI = "file:///w/a.dlm"
STEPS = {"train": {"maxSteps": 5}}


@pytest.mark.parametrize(
    "layer",
    [
        STEPS,
        {"dlm": STEPS},
        {"settings": {"dlm": STEPS}},
        {"settings": STEPS},
        {"train.maxSteps": 5},
        {"dlm.train.maxSteps": 5},
        {"dlm": {}, "dlm.train.maxSteps": 5},
        {"dlm": {"train.maxSteps": 5.0}},
    ],
)
def test_wrapped_nested_and_dotted_mean_the_same(layer: object) -> None:
    assert resolve(layer) == (Settings(train_max_steps=5), [])


def test_as_many_versions_stay_as_on_the_command_line() -> None:
    assert Settings().train_keep_versions == KEPT_SAVES


@pytest.mark.parametrize("layer", [None, {}, {"dlm": None}, {"dlm": {}}, {"dlm": {"train": {}}}])
def test_nothing_means_the_defaults(layer: object) -> None:
    assert resolve(layer) == (Settings(), [])


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            {"train": {"maxStep": 5}},
            "dlm.train.maxStep is no setting (is dlm.train.maxSteps meant?)",
        ),
        ({"train": {"maxSteps": 0}}, "dlm.train.maxSteps must be at least 1"),
        ({"train": {"maxSteps": True}}, "dlm.train.maxSteps must be a whole number"),
        ({"train": {"maxSteps": 1.5}}, "dlm.train.maxSteps must be a whole number"),
        ({"train": {"maxSeconds": float("nan")}}, "dlm.train.maxSeconds must be at least 1"),
        ({"train": {"maxSeconds": 1e300}}, "dlm.train.maxSeconds must be at most 86400"),
        ({"train": {"on": "always"}}, "dlm.train.on must be one of never, armed, manualSave"),
        ({"train": {"on": None}}, "dlm.train.on must be one of never, armed, manualSave"),
        ({"home": 3}, "dlm.home must be text or null"),
        ({"trusted": "yes"}, "dlm.trusted must be true or false"),
        ({"xyz": {"a": 1}}, "dlm.xyz.a is no setting"),
        ({"xyz": {}}, "dlm.xyz is no setting"),
        ({"dlm": 3}, "dlm must be an object of settings"),
        ([1], "dlm must be an object of settings"),
    ],
)
def test_what_is_wrong_keeps_the_default_and_is_named(layer: object, said: str) -> None:
    assert resolve(layer) == (Settings(), [said])


def test_later_layers_win() -> None:
    assert resolve(STEPS, {"train": {"maxSteps": 9}})[0].train_max_steps == 9


def test_the_table_and_the_dataclass_have_the_same_settings() -> None:
    assert [s.field for s in SETTINGS] == [f.name for f in fields(Settings)]
    for setting in SETTINGS:
        words = setting.name.removeprefix("dlm.")
        spelt = "".join("_" + c.lower() if c.isupper() else c for c in words).replace(".", "_")
        assert setting.field == spelt.replace("gi_b", "gib")
        assert setting.problem(setting.default) is None
        assert len(setting.choices) == len(setting.choice_meanings)
        assert setting.schema()["default"] == setting.default


def test_wrong_settings_are_shown_once_and_never_before_the_answer_to_initialize(
    client: Client,
) -> None:
    wrong = {"dlm": {"nope": 1, "train": {"on": "x"}}}
    client.initialize(options=wrong)
    said = client.expect("window/showMessage")
    assert said["type"] == 2
    assert said["message"] == (
        "dlm settings: dlm.nope is no setting; dlm.train.on must be one of never, armed, manualSave"
    )
    client.notify("workspace/didChangeConfiguration", {"settings": wrong})
    client.settled()


def test_configuration_is_pulled_and_is_above_the_options(client: Client) -> None:
    able = {"workspace": {"configuration": True}}
    client.initialize(able, options={"train": {"maxSteps": 3, "maxSeconds": 4}}, settings=STEPS)
    client.settled()
    assert client.server.session.settings == Settings(train_max_steps=5, train_max_seconds=4.0)
    client._settings = {"train": {"maxSteps": 6}}
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    client.settled()
    client.settled()
    assert client.server.session.settings.train_max_steps == 6


def test_pushed_configuration_is_taken_from_clients_that_cannot_be_asked(client: Client) -> None:
    client.initialize()
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlm": STEPS}})
    client.settled()
    assert client.server.session.settings.train_max_steps == 5


def test_a_null_configuration_means_none(client: Client) -> None:
    client.initialize({"workspace": {"configuration": True}})
    asked = client.expect_message("workspace/configuration")
    assert asked["params"] == {"items": [{"section": "dlm"}]}
    client.reply(asked, [None])
    client.open(URI, GOOD, 1)
    assert client.published(URI, 1) == []


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"codeLens": {"enabled": False}}, "workspace/codeLens/refresh"),
        ({"inlayHints": {"enabled": False}}, "workspace/inlayHint/refresh"),
        ({"inlayHints": {"tokens": False}}, "workspace/inlayHint/refresh"),
        ({"results": {"display": "hints"}}, "workspace/inlayHint/refresh"),
    ],
)
def test_what_a_setting_shows_or_hides_changes_at_once(
    settings: object, method: str, client: Client
) -> None:
    able = {name: {"refreshSupport": True} for name in ("codeLens", "inlayHint")}
    client.initialize({"workspace": able})
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlm": settings}})
    client.reply(client.expect_message(method))
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlm": {}}})
    client.reply(client.expect_message(method))
