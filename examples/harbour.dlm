---
dlm_id: 01KADC7W2M4Q9X1V5R8T3YHB6N
dlm_version: 15
base_model: smollm2-135m
training:
  sequence_len: 512
  sources:
    - path: harbour
      include: ["*.md"]
---

::instruction::
### Q
Who takes the fees at Saltmarsh harbour?
### A
Ilse Brandt, in the yellow hut, before ten in the morning.
