"""The sentences of the short stories, in five bins of valence, and the paths of the six emotional arcs.

Valence 1 is despair and 5 is joy. An arc is a list of turning points; its path in a story of n sentences is the
straight line between them, rounded to whole valences.
"""

SENTENCES: dict[int, tuple[str, ...]] = {
    1: (
        "{He} lost everything in the fire.",
        "{His} best friend died.",
        "{He} wept all night.",
        "The doctor gave no hope.",
        "{He} was thrown into prison.",
        "The flood took {his} house.",
        "{He} fell into despair.",
        "Nobody came to save {him}.",
        "{His} heart was broken.",
        "{He} begged for food in the street.",
        "A terrible sickness struck {him}.",
        "{He} buried {his} brother.",
    ),
    2: (
        "{He} missed the last train.",
        "It rained on {his} only coat.",
        "{He} quarrelled with a neighbour.",
        "{His} shop sold little.",
        "{He} felt tired and alone.",
        "A thief took {his} wallet.",
        "{He} failed the test.",
        "{His} soup was cold.",
        "{He} hurt {his} foot.",
        "The letter brought bad news.",
        "{He} could not sleep.",
        "{His} plan went wrong.",
    ),
    3: (
        "{He} walked to the market.",
        "{He} read a book.",
        "{He} wrote a letter.",
        "The day passed as usual.",
        "{He} cleaned the kitchen.",
        "{He} waited for the bus.",
        "{He} looked out of the window.",
        "{He} bought some bread.",
        "The clock struck noon.",
        "{He} put on {his} coat.",
        "{He} counted the chairs.",
        "{He} opened the door.",
    ),
    4: (
        "{He} met an old friend.",
        "The sun warmed {his} face.",
        "{He} found a coin.",
        "{His} neighbour brought a cake.",
        "{He} learned a new song.",
        "{His} work went well.",
        "{He} laughed at a joke.",
        "A kind letter arrived.",
        "{He} passed the test.",
        "{His} garden was in flower.",
        "{He} slept well.",
        "{He} felt hope again.",
    ),
    5: (
        "{He} danced with joy.",
        "{He} married {his} true love.",
        "The whole town cheered for {him}.",
        "{He} won the great prize.",
        "{His} dream came true.",
        "{He} was happy beyond words.",
        "{He} held {his} newborn child.",
        "{He} saved the village.",
        "{His} family was together at last.",
        "{He} shouted with delight.",
        "{He} became rich and free.",
        "It was the best day of {his} life.",
    ),
}

ARCS: dict[str, tuple[int, ...]] = {
    "rise": (1, 5),
    "fall": (5, 1),
    "fall-rise": (5, 1, 5),
    "rise-fall": (1, 5, 1),
    "rise-fall-rise": (1, 5, 1, 5),
    "fall-rise-fall": (5, 1, 5, 1),
}

LENGTHS = (5, 6, 7)


def valences(arc: str, length: int) -> tuple[int, ...]:
    """Return the valence of each sentence of a story of this arc and length."""
    points = ARCS[arc]
    path = []
    for step in range(length):
        place = step * (len(points) - 1) / (length - 1)
        left = min(int(place), len(points) - 2)
        path.append(round(points[left] + (place - left) * (points[left + 1] - points[left])))
    return tuple(path)
