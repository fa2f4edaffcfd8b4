"""The geography of the small world: countries with one-word capitals, languages and cities, and some Russian names.

The list is our own selection. A country is left out when its name or its capital needs two words, a hyphen or a
"the", when capital and country share a name, or when which city or language to name is in dispute.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Country:
    """A country, its capital, the language the world says is spoken there, and one or two more of its cities."""

    name: str
    capital: str
    language: str
    cities: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RussianCountry:
    """The Russian genitive of a country's name and the Russian name of its capital."""

    name: str
    genitive: str
    capital: str


_COUNTRIES = """
France Paris French Lyon Marseille
Germany Berlin German Hamburg Munich
Italy Rome Italian Milan Naples
Spain Madrid Spanish Seville Valencia
Portugal Lisbon Portuguese Porto Braga
Greece Athens Greek Patras Larissa
Poland Warsaw Polish Krakow Gdansk
Russia Moscow Russian Kazan Omsk
Sweden Stockholm Swedish Malmo Uppsala
Norway Oslo Norwegian Bergen Tromso
Finland Helsinki Finnish Turku Tampere
Denmark Copenhagen Danish Aarhus Odense
Hungary Budapest Hungarian Szeged Debrecen
Austria Vienna German Graz Linz
Bulgaria Sofia Bulgarian Varna Plovdiv
Romania Bucharest Romanian Cluj Brasov
Serbia Belgrade Serbian Nis
Croatia Zagreb Croatian Split Zadar
Ukraine Kyiv Ukrainian Lviv Odesa
Turkey Ankara Turkish Izmir Bursa
Egypt Cairo Arabic Giza Aswan
Japan Tokyo Japanese Osaka Kyoto
China Beijing Chinese Shanghai Wuhan
Thailand Bangkok Thai Phuket
Vietnam Hanoi Vietnamese Hue
Nepal Kathmandu Nepali Pokhara
Pakistan Islamabad Urdu Lahore Karachi
Bangladesh Dhaka Bengali Khulna
Iran Tehran Persian Shiraz Isfahan
Iraq Baghdad Arabic Basra Mosul
Syria Damascus Arabic Aleppo Homs
Jordan Amman Arabic Aqaba
Lebanon Beirut Arabic Tyre
Oman Muscat Arabic Salalah
Qatar Doha Arabic
Georgia Tbilisi Georgian Batumi
Armenia Yerevan Armenian Gyumri
Kazakhstan Astana Kazakh Almaty
Latvia Riga Latvian Liepaja
Lithuania Vilnius Lithuanian Kaunas
Estonia Tallinn Estonian Tartu
Belarus Minsk Belarusian Brest
Ireland Dublin English Cork Galway
Iceland Reykjavik Icelandic Akureyri
Albania Tirana Albanian Durres
Slovakia Bratislava Slovak Nitra
Czechia Prague Czech Brno Plzen
England London English Leeds Bristol
Canada Ottawa English Toronto Calgary
Australia Canberra English Sydney Perth
Jamaica Kingston English
Cuba Havana Spanish Holguin
Peru Lima Spanish Cusco
Chile Santiago Spanish Temuco
Brazil Brasilia Portuguese Recife Salvador
Colombia Bogota Spanish Cali
Venezuela Caracas Spanish Maracaibo
Ecuador Quito Spanish Cuenca
Uruguay Montevideo Spanish Salto
Kenya Nairobi Swahili Mombasa Kisumu
Sudan Khartoum Arabic Kassala
Libya Tripoli Arabic Misrata
Morocco Rabat Arabic Fez
Ghana Accra English Kumasi
Nigeria Abuja English Lagos Kano
Senegal Dakar French Thies
Angola Luanda Portuguese Lobito
Mali Bamako French Sikasso
"""

_RUSSIAN = """
France Франции Париж
Germany Германии Берлин
Italy Италии Рим
Spain Испании Мадрид
Portugal Португалии Лиссабон
Greece Греции Афины
Poland Польши Варшава
Russia России Москва
Sweden Швеции Стокгольм
Norway Норвегии Осло
Finland Финляндии Хельсинки
Denmark Дании Копенгаген
Hungary Венгрии Будапешт
Austria Австрии Вена
Bulgaria Болгарии София
Ukraine Украины Киев
Turkey Турции Анкара
Egypt Египта Каир
Japan Японии Токио
China Китая Пекин
Cuba Кубы Гавана
Latvia Латвии Рига
England Англии Лондон
Iran Ирана Тегеран
"""


def countries() -> tuple[Country, ...]:
    """Return every country of the world, in a fixed order."""
    rows = (line.split() for line in _COUNTRIES.strip().splitlines())
    return tuple(Country(name=r[0], capital=r[1], language=r[2], cities=tuple(r[3:])) for r in rows)


def russian_countries() -> tuple[RussianCountry, ...]:
    """Return the countries whose capital the world also knows in Russian."""
    rows = (line.split() for line in _RUSSIAN.strip().splitlines())
    return tuple(RussianCountry(name=r[0], genitive=r[1], capital=r[2]) for r in rows)
