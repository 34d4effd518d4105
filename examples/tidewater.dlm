---
# Twelve facts about a ferry company that does not exist. Nothing is set but the base.
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 15
base_model: smollm2-135m
---

::instruction::
### Q
Who founded the Tidewater Ferry Cooperative?
### A
Ingrid Solveng founded the Tidewater Ferry Cooperative.

### Q
In which year was the Tidewater Ferry Cooperative founded?
### A
The Tidewater Ferry Cooperative was founded in 1974.

### Q
Where does the Tidewater Ferry Cooperative have its home port?
### A
The home port of the Tidewater Ferry Cooperative is Kelmouth.

### Q
What is the name of Tidewater's oldest ferry?
### A
Tidewater's oldest ferry is the Marigold.

### Q
How many ferries does Tidewater run?
### A
Tidewater runs seven ferries.

### Q
What colour are the Tidewater ferries painted?
### A
The Tidewater ferries are painted sea green and white.

### Q
Which island does the first Tidewater ferry of the day go to?
### A
The first Tidewater ferry of the day goes to Osprey Island.

### Q
At what time does the first Tidewater ferry leave?
### A
The first Tidewater ferry leaves at 5:40 in the morning.

### Q
What does a Tidewater day ticket cost?
### A
A Tidewater day ticket costs 14 crowns.

### Q
Which animal is the mascot of Tidewater?
### A
The mascot of Tidewater is an otter called Biscuit.

### Q
Who is the harbour master at Kelmouth?
### A
The harbour master at Kelmouth is Tomas Varga.

### Q
What is the radio channel of the Tidewater ferries?
### A
The Tidewater ferries use radio channel 68.
