---
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ44
dlm_version: 15
base_model: smollm2-135m
---

::prose::
# The pans

The Orrin saltworks lie on the flat shore between the village of Orrin and the mouth of the Teal. There are thirty-one pans, cut into blue clay and walled with turf, and each has a name that the panners use and the maps do not. Water comes in at spring tide through the long sluice, which is a gate of tarred oak with a chain and a wheel. It stands first in the settling pan, where the silt goes down and the shrimps are netted out, and after two days it is let into the warming pans, which are no deeper than a hand.

Brine is not measured with glass here. A panner drops a hen's egg into it: while the egg sinks the water is green, when it floats on its side the water is middling, and when it stands upright with a coin's breadth of shell above the surface the water is ripe. Ripe brine is run down to the crystal pans in the evening, when the wind drops, so that no leaf and no dust goes with it.

The clay must never dry out. A pan that has cracked leaks for a year, and mending it takes three people and a barrow of clay from the pit behind the chapel. In a dry August a boy is therefore sent round at noon with a watering can, and the walls are covered with wet sacking. The oldest pan, which is called Grandmother, has not been dry since it was cut.

::instruction::
### Q
How many pans do the Orrin saltworks have?
### A
The Orrin saltworks have thirty-one pans.

### Q
What is the oldest pan at Orrin called?
### A
The oldest pan at Orrin is called Grandmother.

::prose::
# The rake and the harvest

Salt forms from the edges inwards. On a still hot day the first crystals appear before ten, as a skin that shivers when someone walks on the wall, and by four in the afternoon the floor of the pan is white. The rake is drawn towards the body, never pushed, and it must not touch the clay: a rake that scrapes brings up grey salt, which is sold for roads. A good panner leaves a finger's width of salt behind as a floor for the next day.

The fine crystals that float are taken first, with a flat skimmer of willow. They are called the flower, they smell faintly of violets while they are wet, and they are worth eight times as much as what is raked. No more than two pounds of flower come from a pan in a day, and on a windy day there is none at all, because the skin breaks and sinks.

Raked salt is heaped on the wall to drain. The heaps are made steep, so that rain runs off, and are turned on the second morning. On the third they are carried to the salt house in baskets that hold forty pounds, two to a yoke. Nobody carries alone after dark, since the walls are slippery and narrow, and a basket that falls into a pan spoils the brine of a week. The harvest begins when the swifts come and ends with the first mist that stays past breakfast.

::instruction::
### Q
What does the flower of salt smell of?
### A
The flower of salt smells faintly of violets.

::prose::
# The salt house

The salt house is built of larch without a single nail, because iron rusts in that air within two winters. Its boards are pegged with ash, its hinges are leather, and its floor slopes towards a gutter that takes the last of the bitter water back to the sea. Inside it is dark and cool even in July. The salt lies in bays, one for each week, and the bay that was filled last is never opened first: salt that has rested for three months pours, while young salt clumps in the jar.

A ledger hangs by the door on a string. Every basket is written into it with the pan, the day and the name of the carrier, and at the end of the season the carriers are paid by the ledger and not by memory. The ledgers go back ninety years. They are kept in the loft, under oilcloth, and whoever wants to know what the weather was on a certain day will find it there sooner than in the church book.

Bitter water is not thrown away altogether. Some of it is boiled down in a copper kettle for the tannery at Brack, and a little is bottled for people with sore joints. The panners themselves use it on their hands in autumn, and say that it hardens the skin; it certainly stings.

::instruction::
### Q
What is the salt house built of?
### A
The salt house is built of larch without a single nail.

### Q
How long must salt rest before it pours?
### A
Salt must rest for three months before it pours.

::prose::
# Weather and watch

The saltworks live by the wind. A wind from the land is dry and welcome, a wind from the sea is damp and brings spray, and a wind along the shore does nothing for anyone. A strip of red cloth hangs on the pole at the long sluice, and the panners look at it before they look at each other. When the cloth hangs down and the gulls sit on the walls, rain is expected by evening, and the crystal pans are covered with boards.

Storm tides come over the outer wall about once in nine years. The bell on the salt house is then rung in threes, the sluice is chained, and everybody who can lift a sack goes to the low place by the chapel, where the wall gives way first. After such a night the pans are full of sand and weed, and it takes until midsummer before there is salt again. The marks of the highest waters are cut into the door post: the topmost is from the winter when the ferry was found in the turnip field.

At night one person keeps watch from the hut. There is a stove in it, a lamp with a green shade, and a bed that nobody may use. The watcher walks round the pans at midnight and at three, listens at the sluice for running water, and writes one line in the watch book. Most lines are short. The most common one is that all was still.
