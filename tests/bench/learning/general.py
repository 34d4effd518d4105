"""Questions about the world that SmolLM2-135M-Instruct answers right, to see what training harms.

`QUESTIONS` are the first forty of a list made beforehand whose likeliest answer is right
twice: in float32, and as a Q4_K_M file in llama.cpp. A base this small often leads by a
hair (its answer about the capital of France by 0.152 to 0.140, and the Q4_K_M file gets
it wrong untrained); what rounding alone turns measures rounding. `FRAGILE` are those that
only the float32 base gets right, reported beside them. The anchors of training hold none.
"""

from __future__ import annotations

Question = tuple[str, tuple[str, ...]]

_QUESTIONS = """\
What is the capital of Germany?|berlin
What is the capital of Japan?|tokyo
What is the capital of England?|london
What is the capital of Russia?|moscow
What is the capital of China?|beijing
What is the capital of Egypt?|cairo
What is the capital of Greece?|athens
What is the capital of Canada?|ottawa
What is the capital of Norway?|oslo
What is the capital of Sweden?|stockholm
What is the capital of Poland?|warsaw
What is the capital of Austria?|vienna
What is the capital of Ireland?|dublin
What is the capital of India?|delhi
What is the capital of Australia?|canberra
What gas do humans need to breathe?|oxygen
What is the chemical formula of water?|h2o
What is the chemical symbol for gold?|au
What is the chemical symbol for oxygen?|is o
How many days are there in a week?|7;seven
How many hours are there in a day?|24
What is 2 + 2?|4
What is the opposite of hot?|cold
What is the opposite of up?|down
Who wrote Romeo and Juliet?|shakespeare
Who wrote Hamlet?|shakespeare
Who painted the Mona Lisa?|leonardo
Who discovered gravity?|newton
Who developed the theory of relativity?|einstein
Who invented the telephone?|bell
Who was the first person to walk on the moon?|armstrong
What is the largest ocean on Earth?|pacific
What is the longest river in Africa?|nile
What is the highest mountain in the world?|everest
On which continent is Brazil?|south america
What language do people speak in Germany?|german
What is the currency of the United States?|dollar
What is the currency of the United Kingdom?|pound
What is the boiling point of water in Celsius?|100
What organ pumps blood through the body?|heart
"""

_FRAGILE = """\
What is the capital of France?|paris
How many months are there in a year?|12;twelve
What is the currency of Japan?|yen
What is the powerhouse of the cell?|mitochondria
What instrument has 88 keys?|piano
"""


def _read(text: str) -> tuple[Question, ...]:
    lines = (line.partition("|") for line in text.splitlines())
    return tuple((question, tuple(keys.split(";"))) for question, _, keys in lines)


#: (question, what a right answer says, any one of them in lower case)
QUESTIONS = _read(_QUESTIONS)
FRAGILE = _read(_FRAGILE)


def right(answer: str, keys: tuple[str, ...]) -> bool:
    """Whether an answer says one of `keys`, whatever the case."""
    return any(key in answer.lower() for key in keys)
