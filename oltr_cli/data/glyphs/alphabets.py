"""Which characters and which typefaces glyphs-lt is drawn from. Constants only: the classes are part of the data set.

How the characters were chosen, and what a test recomputes: every pair of classes is drawn in every typeface, brought to
one size and compared. Pairs that look alike (O 0 о Ο, A А Α, Ш ш, Latin m and italic Cyrillic т …) have at most one
member here, case pairs too, since the drawing takes size away. Known against open is held to a tighter limit: an open
image that could be a known one would have no right answer. Pairs that a person mixes up (α a, ν v, ξ ζ, 3 კ, 2 Ձ) were
struck out by hand as well.
"""

# The known classes, in the order of their labels.
LATIN = "BCDEGHJKLMNPQRTUVWXYZadefkmnortÆæŒßðÞŋ"
GREEK = "ΑΔΞΣΦΨΩβδεζλμωϞϠϡ"  # Alpha stands for A and А as well
CYRILLIC = "БДЖЙЛЦЧЩЪЫЭЮЯҐЂЉЊђ"
DIGITS = "1234579"
KNOWN = LATIN + GREEK + CYRILLIC + DIGITS

# Open classes come from scripts of which no character is known, so that they are new as classes and not as fonts.
# Validation and test have different open characters.
ARMENIAN_OPEN = "ԳԴԵԹԾԿՂՃՊՒՖըխձճնչպֆ"
GEORGIAN_OPEN = "დოჟსფქღშჩჭჯ"
ARMENIAN_OPEN_VAL = "ԷԸԻՀՇՔիկմ"
GEORGIAN_OPEN_VAL = "ლრტყცჰ"
OPEN = ARMENIAN_OPEN + GEORGIAN_OPEN
OPEN_VAL = ARMENIAN_OPEN_VAL + GEORGIAN_OPEN_VAL

# Outliers for training: signs that are no letters, in all typefaces that known classes are trained in. They may look
# like each other, since they have no labels, but like no known or open class.
OUTLIERS = "#$%&?@{¢£¤¥§©®¶¼½¾¿±÷‡‰€№™«~<=…"

# The typefaces, all shipped with matplotlib. Computer Modern and LastResort do not map Unicode to shapes and are left
# out; STIX has neither Armenian nor Georgian, so that it can be trained on but not tested on: open and known images of
# a split come from the same typefaces, or "open" could be told by the typeface alone. Every style (sans, serif, mono,
# bold, slanted) is trained on, and those of test are combinations found in neither train nor validation.
TRAIN_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)
VAL_FACES = ("DejaVuSans-Oblique", "DejaVuSansMono-Oblique", "DejaVuSerif-Bold")
TEST_FACES = ("DejaVuSans-BoldOblique", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Italic")


def script_of(character: str) -> str:
    """``Latin``, ``Greek``, ``Cyrillic``, ``digit``, ``Armenian``, ``Georgian`` or ``sign``."""
    for script, characters in (
        ("Latin", LATIN),
        ("Greek", GREEK),
        ("Cyrillic", CYRILLIC),
        ("digit", DIGITS),
        ("Armenian", ARMENIAN_OPEN + ARMENIAN_OPEN_VAL),
        ("sign", OUTLIERS),
    ):
        if character in characters:
            return script
    return "Georgian"
