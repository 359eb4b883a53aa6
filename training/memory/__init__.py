"""How a run fits into the memory that there is.

A run holds the weights of its networks all the time, and next to them the activations that backward needs. Activations
come from two places, the sampling steps with gradient and the decoding of frames with their rewards, and four modes
differ in how many of them exist at once. "off" keeps those of all K sampling steps while frames are decoded; "steps"
keeps none and computes one sampling step after the other again in backward. "blocks" computes each block of the model
again, too, and "offload" also lets what is kept between blocks wait in CPU memory, computes with and without prompt one
after the other, and decodes frame by frame. Where no mode suffices, a step looks at fewer frames, and in the end a tiny
VAE decodes them. The peak of each of these options is estimated, before anything is computed, as the numbers that the
model's blocks and the VAE work on times costs that were counted on small models (``costs.json``); what has no costs of
its own is taken for the most expensive thing that has. A run trains by the first option whose peak, and a margin of 15
percent, fits into what the host can free. An estimate remains one: if memory runs out all the same, the step that
failed is repeated one rung further down this ladder, rung by rung to its end. Nothing else changes, as a repeated step
draws the same prompt, noise and frames; only the tiny VAE asks for the original model's clips to be decoded anew.
"""
