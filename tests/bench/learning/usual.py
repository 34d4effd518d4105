"""The same facts by TRL and PEFT: `python -m tests.bench.learning.usual RECIPE WORLD FOLDER`.

Owns the two recipes that dlm is compared with, and leaves a PEFT adapter in FOLDER, which is
asked what every other is asked. Nothing of dlm runs here but finding the base's weights.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.bench.learning.facts import WORLDS

BASE = "smollm2-135m"


@dataclass(frozen=True, slots=True)
class Recipe:
    """`answers_only`: the loss is on answers; on the whole conversation otherwise."""

    rank: int
    modules: str | list[str]
    rate: float
    epochs: int
    answers_only: bool


RECIPES = {
    # what tutorials give: PEFT's default rank and the attention's modules, three epochs
    "usual": Recipe(8, ["q_proj", "k_proj", "v_proj", "o_proj"], 2e-4, 3, answers_only=False),
    "strong": Recipe(16, "all-linear", 1e-3, 20, answers_only=True),
}


def train(recipe: Recipe, world: str, folder: Path) -> None:
    """Train the world's facts by `recipe`; everything else is as the libraries have it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    spec = resolve(BASE, pinned_revision=None, home=home_dir())
    weights = obtain_weights(spec, home_dir(), report=lambda message: None)
    rows = []
    for fact in WORLDS[world]:
        asked = [{"role": "user", "content": fact.question}]
        said = [{"role": "assistant", "content": fact.answer}]
        whole = {"prompt": asked, "completion": said}
        rows.append(whole if recipe.answers_only else {"messages": asked + said})
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(str(weights.path), dtype=torch.float32),
        SFTConfig(
            str(folder / "state"),
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.rate,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(str(weights.path)),
        peft_config=LoraConfig(
            r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=recipe.modules
        ),
    )
    trainer.train()
    trainer.save_model(str(folder))
    (folder / "steps").write_text(str(trainer.state.global_step), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("world", choices=sorted(WORLDS))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    train(RECIPES[options.recipe], options.world, options.folder)


if __name__ == "__main__":
    main()
