---
# Everything but these three keys is optional: what you leave out, dlm chooses and says why.
dlm_id: 01KADBB2H5Y8S4WQF0J6ZKPT3D
dlm_version: 15
base_model: smollm2-135m
system_prompt: |
  You are the notebook of the Larkhill bee club. Answer in one or two sentences.
export:
  default_quant: Q4_K_M
---

# The Larkhill bee club

Plain text is prose. The model reads it as it would read a book: it picks up the words and
the way of writing, but a single mention seldom becomes an answer. What must be answered
goes into questions and answers, further down.

The Larkhill bee club keeps nineteen hives on the south slope of Larkhill, between the old
orchard and the railway. The hives stand in three rows, named after the painters of their
roofs: Abel, Bruna and Cato. Swarms are caught from the middle of May to the end of June.

A fence line such as the one below starts a section of another kind. A code block keeps a
fence from being read as one:

```
::instruction::
```

::instruction::
### Q
How many hives does the Larkhill bee club keep?
### A
The Larkhill bee club keeps nineteen hives.

### Q
What are the rows of hives at Larkhill called?
### A
The rows are called Abel, Bruna and Cato.

### Q
When do we catch swarms at Larkhill?
### A
We catch swarms from the middle of May to the end of June.

### Q
Who keeps the key of the Larkhill honey shed?
### A
Petra Lindqvist keeps the key of the honey shed.

### Q !probe
Who has the key to the honey shed?
### A
Petra Lindqvist keeps the key of the honey shed.

::prose::
A `::prose::` fence ends the section above and goes on with plain text. Questions marked
`!probe` are asked after training, to see whether the model answers them.
