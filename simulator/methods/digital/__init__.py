"""The digital baseline: source codec, channel code, modulation, at the same K channel uses.

    image --fit--> payload --frame--> bits --LDPC--> coded bits --map--> K symbols
      h y + n  --demap--> LLRs --decode--> bits --check--> payload --> image, or outage

``source`` and its codecs; ``fit`` brings a payload to a budget; ``ldpc``, ``belief`` and ``nr``
are channel codes; ``modulation``; ``mcs`` chooses a rate; ``block`` spends exactly K uses;
``success`` says how likely a rate gets through; ``capacity`` is the bound; ``system`` joins them
to methods, and ``methods`` lists those by name.
"""
