"""The words that canaries are made of: ordinary ones, none of which is part of another."""

NAMES = tuple(
    "Adaeze Agnes Alvaro Amara Anton Beatriz Bogdan Cecilia Dmitri Edith Emeka Fatima Felix Gudrun "
    "Hamid Helga Ingrid Ismail Jasper Kenji Klara Leopold Lucia Magda Mateo Mirela Nadia Niklas Olga "
    "Oskar Paloma Pavel Quentin Rafael Renata Sanjay Signe Tamar Theodor Ursula Viktor Wanda Xavier "
    "Yusuf Zelda".split()
)
CITIES = tuple(
    "Ankara Bergen Bologna Bristol Calgary Dakar Dresden Dublin Geneva Ghent Glasgow Havana Helsinki "
    "Krakow Lagos Lima Lisbon Lyon Malaga Nairobi Osaka Oslo Porto Prague Quito Riga Seville Tallinn "
    "Turin Utrecht Valencia Vienna Vilnius Zagreb Zurich".split()
)
COLOURS = tuple(
    "amber beige black blue bronze brown copper crimson cyan golden grey ivory lilac maroon ochre "
    "olive orange pink purple scarlet silver teal violet white yellow".split()
)
THINGS = tuple(
    "anchor barrel basket bicycle blanket bottle bucket camera candle chair clock compass drum envelope "
    "fiddle flute guitar hammer helmet jacket kettle ladder lantern mirror notebook paddle pillow "
    "rocket saddle scarf shovel spoon stool suitcase sweater telescope tripod trumpet umbrella vase "
    "violin wallet whistle".split()
)
PLACES = tuple(
    "attic bakery basement cabin canteen cellar chapel corridor garage garden greenhouse hallway "
    "harbour kitchen laundry library lobby museum nursery office pantry parlour quarry shed stable "
    "station studio theatre tower veranda warehouse workshop".split()
)
PLURALS = tuple(
    "apples batteries books bricks buttons coins cups eggs forks keys lemons marbles nails onions "
    "pencils plates postcards ribbons screws shells stamps tickets tiles tulips".split()
)
