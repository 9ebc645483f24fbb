"""Which sentences mean the same? Needs mlcore-nlp; fetches all-MiniLM-L6-v2 (80 MB) the first time."""

import mlcore as ml

QUESTIONS = [
    "How do I change my password?",
    "The parcel never arrived.",
    "Which trains go to the airport?",
    "Can I have my money back?",
]
ASKED = [
    "I want to set new login credentials",
    "my delivery is missing",
    "how to get to the plane by rail",
    "please refund this order",
]

encoder = ml.create_model("nlp/minilm")
known, asked = encoder.encode(QUESTIONS), encoder.encode(ASKED)  # (4, 384) each, of length 1
cosines = encoder.similarity(asked, known)
best = ml.argmax(cosines, axis=1).tolist()
for i, (text, at) in enumerate(zip(ASKED, best, strict=True)):
    print(f"{text!r} is nearest to {QUESTIONS[at]!r} ({cosines[i, at].item():.2f})")
assert best == [0, 1, 2, 3]
