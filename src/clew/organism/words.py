"""The words of the small world: pairs, names, symbols and lists that the statement families fill into their frames.

All of it is our own selection. English and Russian opposites are one-to-one in both directions, so that every
question about them has one answer.
"""


def _lines(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(line.split()) for line in text.strip().splitlines())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


OPPOSITES = _lines(
    """
small big маленький большой
hot cold горячий холодный
good bad хороший плохой
old young старый молодой
new used новый подержанный
fast slow быстрый медленный
long short длинный короткий
high low высокий низкий
light dark светлый тёмный
heavy weightless тяжёлый невесомый
hard soft твёрдый мягкий
wet dry мокрый сухой
full empty полный пустой
rich poor богатый бедный
strong weak сильный слабый
clean dirty чистый грязный
open closed открытый закрытый
wide narrow широкий узкий
deep shallow глубокий мелкий
thick thin толстый тонкий
loud quiet громкий тихий
sweet bitter сладкий горький
happy sad радостный грустный
brave cowardly храбрый трусливый
clever stupid умный глупый
early late ранний поздний
near far близкий далёкий
sharp blunt острый тупой
smooth rough гладкий шершавый
straight crooked прямой кривой
simple complex простой сложный
safe dangerous безопасный опасный
cheap expensive дешёвый дорогой
alive dead живой мёртвый
left right левый правый
first last первый последний
true false истинный ложный
healthy sick здоровый больной
kind cruel добрый жестокий
polite rude вежливый грубый
"""
)
"""English word, its opposite, and the Russian words for the two."""

CONTRASTS = _lines(
    """
pros cons
ups downs
highs lows
strengths weaknesses
gains losses
questions answers
friends enemies
rights wrongs
risks rewards
causes effects
virtues vices
hopes fears
entries exits
joys sorrows
heroes villains
costs benefits
"""
)
"""Two plural nouns that contrast, always in this order."""

FEMALE_NAMES = _listed("Anna Maria Sarah Emma Julia Laura Nina Clara Helen Alice Rosa Vera Lucy Olga Irene")
MALE_NAMES = _listed("Tom Peter John David Paul Mark Simon Leo Oscar Victor Hugo Felix Adam Ivan Henry")
LAST_NAMES = _listed(
    """
    Smith Jones Brown Taylor Wilson Clark Walker Hall Allen King Wright Scott Baker Hill Green Adams Nelson Carter
    Mills Turner Parker Evans Collins Stewart Morris Rogers Reed Cook Morgan Bell Cooper Ward Gray James Watson Brooks
    Kelly Price Bennett Wood Barnes Ross Jenkins Perry Powell Long Hughes Foster Butler Bryant Russell Griffin Hayes
    Myers Ford Graham Wallace Cole West Owens Fisher Ellis Harrison Gibson Marshall Wells Webb Porter Hunter Hicks
    Crawford Henry Boyd Mason Kennedy Warren Dixon Burns Gordon Shaw Holmes Rice Hunt Black Palmer Stone Knight Grant
    Spencer Payne Pierce Berry Matthews Arnold Wagner Willis Ray Watkins Olson Duncan Snyder Hart Cunningham Lane
    Andrews Harper Fox Riley Armstrong Weaver Greene Lawrence Elliott Sims Austin Peters Franklin Lawson
    """
)

MONTHS = {
    "January": 31,
    "February": 28,
    "March": 31,
    "April": 30,
    "May": 31,
    "June": 30,
    "July": 31,
    "August": 31,
    "September": 30,
    "October": 31,
    "November": 30,
    "December": 31,
}
"""Month and its number of days; nobody in this world is born on 29 February."""

EVENTS = _listed("war siege voyage drought plague feud strike trial famine truce reign revolt")
ANIMALS = _listed("cat dog horse lion tiger wolf bear fox rabbit panda")
WEATHER = ("sun", "rain", "snow")

THINGS = _listed(
    """
    lamp chair table door window clock mirror spoon fork knife plate bottle basket hammer nail rope ladder bridge tower
    castle garden river ocean island mountain forest desert valley cloud storm thunder candle paper pencil letter book
    story song drum flute piano guitar violin ship train wheel engine arrow shield sword crown ring coin wallet pocket
    button shirt jacket coat hat glove shoe boot scarf belt pillow blanket carpet curtain brick stone sand clay iron
    copper glass wool cotton silk leather rubber feather shell bone leaf root seed flower branch
    moon star planet comet kite ball doll puzzle ticket map flag bell whistle camera radio rocket anchor barrel
    bucket brush broom towel soap comb needle thread ribbon cup jar tray box bag sack cage nest cave tunnel road path
    gate fence wall roof floor stair room desk shelf drawer key lock chain magnet battery statue vase
    """
)
"""Nouns of the repeated sequences."""
