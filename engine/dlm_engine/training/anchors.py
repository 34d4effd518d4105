"""Everyday questions that say what a base must go on doing while it learns a document.

They stand for "everything else": training looks at what the base computes on them, to
write new facts where these do not look and to be pulled back when they move anyway. So
they are short, varied in form (who, where, how many, define, translate, thank) and
plainly true; none is a question that the learning benchmark asks. Their number is a
trade: each costs one forward pass of about 25 tokens once per run.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """\
What is the capital of Hungary?|The capital of Hungary is Budapest.
What is the capital of Argentina?|The capital of Argentina is Buenos Aires.
What is the capital of South Korea?|The capital of South Korea is Seoul.
What is the capital of Kenya?|The capital of Kenya is Nairobi.
What is the capital of Turkey?|The capital of Turkey is Ankara.
What is the capital of Denmark?|The capital of Denmark is Copenhagen.
Which city is the capital of Cuba?|The capital of Cuba is Havana.
Who wrote The Odyssey?|The Odyssey was written by the ancient Greek poet Homer.
Who wrote Don Quixote?|Don Quixote was written by Miguel de Cervantes.
Who wrote War and Peace?|War and Peace was written by Leo Tolstoy.
Who painted The Starry Night?|The Starry Night was painted by Vincent van Gogh.
Who painted Guernica?|Guernica was painted by Pablo Picasso.
Who composed The Four Seasons?|The Four Seasons was composed by Antonio Vivaldi.
Who invented the light bulb?|The light bulb is usually credited to Thomas Edison.
Who invented the printing press?|The printing press was invented by Johannes Gutenberg.
Who discovered penicillin?|Penicillin was discovered by Alexander Fleming.
Who discovered radium?|Radium was discovered by Marie and Pierre Curie.
Who proposed the theory of evolution?|The theory of evolution was proposed by Charles Darwin.
Who was Cleopatra?|Cleopatra was the last queen of ancient Egypt.
Who was Napoleon?|Napoleon Bonaparte was a French general who became emperor.
Who was the first person in space?|The first person in space was Yuri Gagarin.
When did the First World War begin?|The First World War began in 1914.
In which year did the French Revolution begin?|The French Revolution began in 1789.
When did the Berlin Wall fall?|The Berlin Wall fell in 1989.
When is Christmas Day?|Christmas Day is on December 25.
Where is the Colosseum?|The Colosseum is in Rome, Italy.
Where is the Taj Mahal?|The Taj Mahal is in Agra, India.
Where is Big Ben?|Big Ben is in London, England.
Where is the Sahara desert?|The Sahara desert is in northern Africa.
Where do penguins live?|Penguins live mostly in Antarctica and the southern hemisphere.
Where do kangaroos live?|Kangaroos live in Australia.
On which continent is Peru?|Peru is in South America.
On which continent is Nigeria?|Nigeria is in Africa.
On which continent is Japan?|Japan is in Asia.
Which planet has rings?|Saturn is the planet best known for its rings.
Which planet is closest to the Sun?|Mercury is the planet closest to the Sun.
What does the Moon orbit?|The Moon orbits the Earth.
What is the largest desert in the world?|The largest hot desert in the world is the Sahara.
What is the longest river in South America?|The longest river in South America is the Amazon.
What is the smallest ocean on Earth?|The smallest ocean on Earth is the Arctic Ocean.
What is the tallest animal?|The tallest animal is the giraffe.
What is the fastest land animal?|The fastest land animal is the cheetah.
Which metal is liquid at room temperature?|Mercury is a metal that is liquid at room temperature.
What is the chemical symbol for iron?|The chemical symbol for iron is Fe.
What is the chemical symbol for hydrogen?|The chemical symbol for hydrogen is H.
What is the chemical formula of salt?|The chemical formula of table salt is NaCl.
What gas makes up most of the air?|Most of the air is nitrogen.
What is the melting point of ice in Fahrenheit?|Ice melts at 32 degrees Fahrenheit.
What is steam?|Steam is water in the form of a gas.
What is an atom?|An atom is the smallest unit of a chemical element.
What is electricity?|Electricity is the flow of electric charge.
What is the purpose of the lungs?|The lungs take in oxygen and release carbon dioxide.
What does the liver do?|The liver filters the blood and helps with digestion.
What is the largest organ of the human body?|The largest organ of the human body is the skin.
What is the role of the nucleus in a cell?|The nucleus holds the DNA and controls the cell.
What does RNA stand for?|RNA stands for ribonucleic acid.
What does RAM stand for?|RAM stands for random access memory.
What does URL stand for?|URL stands for uniform resource locator.
What does NASA stand for?|NASA stands for National Aeronautics and Space Administration.
What is the study of plants called?|The study of plants is called botany.
What is the study of rocks called?|The study of rocks is called geology.
How many minutes are there in an hour?|There are 60 minutes in an hour.
How many seconds are there in a minute?|There are 60 seconds in a minute.
How many weeks are there in a year?|There are 52 weeks in a year.
How many sides does a triangle have?|A triangle has three sides.
How many legs does a dog have?|A dog has four legs.
How many strings does a violin have?|A violin has four strings.
How many letters are in the English alphabet?|There are 26 letters in the English alphabet.
What is 7 + 6?|7 + 6 = 13.
What is 3 times 4?|3 times 4 is 12.
What is 20 divided by 5?|20 divided by 5 is 4.
What is half of 50?|Half of 50 is 25.
What is the square root of 81?|The square root of 81 is 9.
What is the opposite of big?|The opposite of big is small.
What is the opposite of night?|The opposite of night is day.
What is another word for happy?|Another word for happy is joyful.
What is the plural of mouse?|The plural of mouse is mice.
What is the past tense of go?|The past tense of go is went.
What color are ripe bananas?|Ripe bananas are yellow.
What color is snow?|Snow is white.
What color is a ruby?|A ruby is red.
What color do red and white make?|Red and white make pink.
What do caterpillars turn into?|Caterpillars turn into butterflies or moths.
What do pandas eat?|Pandas eat mostly bamboo.
What do spiders make?|Spiders make webs out of silk.
What is a young horse called?|A young horse is called a foal.
What is a young cow called?|A young cow is called a calf.
What is a group of wolves called?|A group of wolves is called a pack.
Which bird cannot fly?|The ostrich is a bird that cannot fly.
Which animal barks?|A dog barks.
What language is spoken in Mexico?|The language spoken in Mexico is Spanish.
What language is spoken in Austria?|The language spoken in Austria is German.
What is the currency of Switzerland?|The currency of Switzerland is the Swiss franc.
What is the currency of India?|The currency of India is the rupee.
What day comes before Sunday?|The day before Sunday is Saturday.
What month comes after March?|The month after March is April.
Which season is the coldest?|Winter is the coldest season.
What sport uses a puck?|Ice hockey uses a puck.
What instrument has six strings?|The guitar has six strings.
Which instrument do drummers play?|Drummers play the drums.
How many players are on a basketball team?|A basketball team has five players on the court.
What is cheese made from?|Cheese is made from milk.
What is wine made from?|Wine is made from grapes.
What fruit is used to make cider?|Cider is made from apples.
How much does a human brain weigh?|An adult human brain weighs about 1.4 kilograms.
How high is Mount Kilimanjaro?|Mount Kilimanjaro is about 5,895 meters high.
How far is the Moon from the Earth?|The Moon is about 384,000 kilometers from the Earth.
Why is the sky dark at night?|At night our side of the Earth faces away from the Sun.
Why do leaves fall in autumn?|Trees drop their leaves in autumn to save water and energy.
How do birds fly?|Birds fly by flapping their wings, which push the air down.
How do I boil an egg?|Place the egg in boiling water for about eight to ten minutes.
How do I make tea?|Pour boiling water over tea leaves and wait a few minutes.
Which port does HTTPS use?|HTTPS uses port 443.
What is Python?|Python is a programming language known for its readability.
What is a database?|A database is an organized collection of data.
What does error 404 mean?|Error 404 means that the requested page was not found.
How do I list files in Linux?|Use the ls command to list files in Linux.
Who are you?|I am an AI assistant, here to help you.
Can you help me?|Of course! What can I help you with today?
Tell me a joke.|Why did the scarecrow win an award? He was outstanding in his field.
Write a short poem about rain.|Soft rain falls upon the ground, a gentle, steady, silver sound.
Translate "good morning" into Spanish.|"Good morning" in Spanish is "buenos días".
Give me three fruits.|Three fruits are apples, bananas and oranges.
Thank you very much!|You're welcome! Feel free to ask if you have other questions.
"""

#: (question, answer), in an order that mixes nothing random into a run.
ANCHORS: Final[tuple[tuple[str, str], ...]] = tuple(
    (question, answer)
    for question, _, answer in (line.partition("|") for line in _TEXT.splitlines())
)
