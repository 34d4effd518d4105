"""The same by TRL and PEFT: `python -m tests.bench.learning.usual RECIPE LESSON FOLDER`.

Owns the two recipes that dlm is compared with, and leaves a PEFT adapter in FOLDER, which is
asked what every other is asked. Facts are learned by SFTTrainer, texts too, packed, and
preferences by DPOTrainer upon what SFTTrainer left: the order that TRL's documentation gives.
Nothing of dlm runs here but reading the document and finding the base's weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.learning.facts import LESSONS, Lesson, lesson_of

BASE = "smollm2-135m"
#: the batch that TRL takes if none is given
_BATCH = 8
#: of one trainer: five or six minutes on two cores. Beyond it there are fewer passes, but never
#: fewer than tutorials have
_MOST_STEPS, _LEAST_EPOCHS = 120, 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """`answers_only`: the loss is on answers; on the whole conversation otherwise. `preferring`
    is the learning rate of preferences."""

    rank: int
    modules: str | list[str]
    rate: float
    epochs: int
    answers_only: bool
    preferring: float

    def epochs_of(self, rows: int) -> int:
        """Passes over so many rows."""
        return min(self.epochs, max(_LEAST_EPOCHS, _MOST_STEPS // -(-rows // _BATCH)))


RECIPES = {
    # what tutorials give: PEFT's default rank and the attention's modules, three epochs; for
    # preferences the rate that the page on TRL's DPOTrainer gives for adapters
    "usual": Recipe(8, ["q_proj", "k_proj", "v_proj", "o_proj"], 2e-4, 3, False, 1e-5),
    "strong": Recipe(16, "all-linear", 1e-3, 20, True, 1e-4),
}


def train(
    recipe: Recipe, lesson: Lesson, weights: Path, folder: Path, earlier: Path | None = None
) -> tuple[int, int]:
    """Train the adapter in `earlier`, or a new one, by `recipe` and leave it in `folder`;
    everything else is as the libraries have it. Steps that were made, and that all the recipe's
    epochs would have been."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    tuning = (SFTTrainer, SFTConfig, {"learning_rate": recipe.rate})
    packing = (*tuning[:2], {"learning_rate": recipe.rate, "packing": True})
    preferring = (DPOTrainer, DPOConfig, {"learning_rate": recipe.preferring})
    made, planned = 0, 0.0
    for (trainer_of, config_of, chosen), rows in (
        (tuning, [_fact(f.question, f.answer, recipe.answers_only) for f in lesson.facts]),
        (packing, [{"text": text} for text in lesson.texts]),
        (preferring, [_pair(p.prompt, p.chosen, p.rejected) for p in lesson.pairs]),
    ):
        if not rows:
            continue
        epochs = recipe.epochs_of(len(rows))
        model: Any = AutoModelForCausalLM.from_pretrained(str(weights), dtype=torch.float32)
        if earlier is not None:
            model = PeftModel.from_pretrained(model, str(earlier), is_trainable=True)
        trainer: Any = trainer_of(
            model,
            args=config_of(
                str(folder / "state"),
                num_train_epochs=epochs,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                **chosen,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(str(weights)),
            peft_config=None
            if earlier is not None
            else LoraConfig(
                r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=recipe.modules
            ),
        )
        trainer.train()
        trainer.save_model(str(folder))
        earlier = folder
        made += trainer.state.global_step
        planned += trainer.state.global_step * recipe.epochs / epochs
    return made, round(planned)


def _turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def _fact(question: str, answer: str, answers_only: bool) -> dict[str, Any]:
    asked, said = _turn("user", question), _turn("assistant", answer)
    return {"prompt": asked, "completion": said} if answers_only else {"messages": asked + said}


def _pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "prompt": _turn("user", prompt),
        "chosen": _turn("assistant", chosen),
        "rejected": _turn("assistant", rejected),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("lesson", choices=LESSONS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--earlier", type=Path, help="an adapter to go on from")
    options = parser.parse_args()
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    spec = resolve(BASE, pinned_revision=None, home=home_dir())
    weights = obtain_weights(spec, home_dir(), report=lambda message: None)
    recipe, lesson = RECIPES[options.recipe], lesson_of(options.lesson)
    steps = train(recipe, lesson, weights.path, options.folder, options.earlier)
    (options.folder / "steps.json").write_text(json.dumps(steps), encoding="utf-8")


if __name__ == "__main__":
    main()
