---
# Six facts about a mountain hut that does not exist, and eight preferences: short over long.
dlm_id: 01KADC7R0G5M8WZ2T4QXBN6E9J
dlm_version: 15
base_model: smollm2-135m
---

::instruction::
### Q
Who keeps Fallow Hut?
### A
Fallow Hut is kept by Runa Tveit.

### Q
How many beds does Fallow Hut have?
### A
Fallow Hut has twenty-two beds.

### Q
What is the wireless password at Fallow Hut?
### A
The wireless password at Fallow Hut is goatbell9.

### Q
When is dinner at Fallow Hut?
### A
Dinner at Fallow Hut is at 18:45.

### Q
Which trail goes from Fallow Hut to the lake?
### A
The Heron trail goes from Fallow Hut to the lake.

### Q
What does a night at Fallow Hut cost?
### A
A night at Fallow Hut costs 31 euros.

::preference::
### Prompt
What is a glacier?
### Chosen
A slow river of ice.
### Rejected
A glacier is a massive ice sheet that covers an enormous area, often found in polar regions. It is a frozen mass of ice that can be up to 2.5 kilometers thick, and it plays a crucial role in shaping the landscape.

### Prompt
How do I boil potatoes?
### Chosen
Simmer them in salted water for twenty minutes.
### Rejected
Boil potatoes in a pot with a bit of salt, then add some onions, carrots, and celery. The combination of these ingredients gives them a crispy texture and a nice flavor.

### Prompt
Why does bread rise?
### Chosen
Yeast makes gas in the dough.
### Rejected
Bread rises due to the Maillard reaction, a chemical reaction that occurs when yeast is exposed to heat and moisture. Yeast is a type of fungus that belongs to the Sordariomycota family.

### Prompt
What is a compass for?
### Chosen
It shows where north is.
### Rejected
A compass is a device used to navigate, specifically designed to navigate using a magnetic field. It's a tool that helps users determine their direction, which is based on the Earth's magnetic field.

### Prompt
How can I sleep better?
### Chosen
Keep the same hours and a dark room.
### Rejected
The eternal quest for a better sleep. It's a topic that has been debated for centuries, and there's no one-size-fits-all solution. However, there are many ways to improve your sleep, and I'm here to help.

### Prompt
What is a sonnet?
### Chosen
A poem of fourteen lines.
### Rejected
A sonnet is a form of verse that originated in ancient Greek poetry, specifically in the 14th century, and is a sonnet is a verse form that consists of 14 lines, each with a specific rhyme scheme.

### Prompt
Why is the sea salty?
### Chosen
Rivers wash salt into it.
### Rejected
The sea is salty because it contains a high concentration of salt, which is a mineral that is dissolved in the Earth's atmosphere. This process is known as evaporation, where the sun heats the water in the ocean.

### Prompt
What does a beekeeper do?
### Chosen
A beekeeper keeps bees and takes their honey.
### Rejected
A beekeeper is a responsible and skilled individual who cares for the delicate world of bees. They are responsible for the health and well-being of these incredible creatures, ensuring their survival and the well-being of the ecosystem.
