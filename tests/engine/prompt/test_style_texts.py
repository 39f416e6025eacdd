"""The shipped style files: the names requests may use, in Fooocus's order, each with texts worth applying."""

import json
import random
from importlib.resources import files

import pytest

# Fooocus's style names, file by file in load order
STYLES = {
    "sdxl_styles_fooocus": """
        Fooocus Enhance | Fooocus Semi Realistic | Fooocus Sharp | Fooocus Masterpiece | Fooocus Photograph | Fooocus
        Negative | Fooocus Cinematic | Fooocus Pony
    """,
    "sdxl_styles_sai": """
        SAI 3D Model | SAI Analog Film | SAI Anime | SAI Cinematic | SAI Comic Book | SAI Craft Clay | SAI Digital Art
        | SAI Enhance | SAI Fantasy Art | SAI Isometric | SAI Line Art | SAI Lowpoly | SAI Neonpunk | SAI Origami |
        SAI Photographic | SAI Pixel Art | SAI Texture
    """,
    "sdxl_styles_mre": """
        MRE Cinematic Dynamic | MRE Spontaneous Picture | MRE Artistic Vision | MRE Dark Dream | MRE Gloomy Art | MRE
        Bad Dream | MRE Underground | MRE Surreal Painting | MRE Dynamic Illustration | MRE Undead Art | MRE Elemental
        Art | MRE Space Art | MRE Ancient Illustration | MRE Brave Art | MRE Heroic Fantasy | MRE Dark Cyberpunk | MRE
        Lyrical Geometry | MRE Sumi E Symbolic | MRE Sumi E Detailed | MRE Manga | MRE Anime | MRE Comic
    """,
    "sdxl_styles_twri": """
        Ads Advertising | Ads Automotive | Ads Corporate | Ads Fashion Editorial | Ads Food Photography | Ads Gourmet
        Food Photography | Ads Luxury | Ads Real Estate | Ads Retail | Artstyle Abstract | Artstyle Abstract
        Expressionism | Artstyle Art Deco | Artstyle Art Nouveau | Artstyle Constructivist | Artstyle Cubist |
        Artstyle Expressionist | Artstyle Graffiti | Artstyle Hyperrealism | Artstyle Impressionist | Artstyle
        Pointillism | Artstyle Pop Art | Artstyle Psychedelic | Artstyle Renaissance | Artstyle Steampunk | Artstyle
        Surrealist | Artstyle Typography | Artstyle Watercolor | Futuristic Biomechanical | Futuristic Biomechanical
        Cyberpunk | Futuristic Cybernetic | Futuristic Cybernetic Robot | Futuristic Cyberpunk Cityscape | Futuristic
        Futuristic | Futuristic Retro Cyberpunk | Futuristic Retro Futurism | Futuristic Sci Fi | Futuristic Vaporwave
        | Game Bubble Bobble | Game Cyberpunk Game | Game Fighting Game | Game Gta | Game Mario | Game Minecraft |
        Game Pokemon | Game Retro Arcade | Game Retro Game | Game Rpg Fantasy Game | Game Strategy Game | Game
        Streetfighter | Game Zelda | Misc Architectural | Misc Disco | Misc Dreamscape | Misc Dystopian | Misc Fairy
        Tale | Misc Gothic | Misc Grunge | Misc Horror | Misc Kawaii | Misc Lovecraftian | Misc Macabre | Misc Manga |
        Misc Metropolis | Misc Minimalist | Misc Monochrome | Misc Nautical | Misc Space | Misc Stained Glass | Misc
        Techwear Fashion | Misc Tribal | Misc Zentangle | Papercraft Collage | Papercraft Flat Papercut | Papercraft
        Kirigami | Papercraft Paper Mache | Papercraft Paper Quilling | Papercraft Papercut Collage | Papercraft
        Papercut Shadow Box | Papercraft Stacked Papercut | Papercraft Thick Layered Papercut | Photo Alien | Photo
        Film Noir | Photo Glamour | Photo Hdr | Photo Iphone Photographic | Photo Long Exposure | Photo Neon Noir |
        Photo Silhouette | Photo Tilt Shift
    """,
    "sdxl_styles_diva": """
        Cinematic Diva | Abstract Expressionism | Academia | Action Figure | Adorable 3D Character | Adorable Kawaii |
        Art Deco | Art Nouveau | Astral Aura | Avant Garde | Baroque | Bauhaus Style Poster | Blueprint Schematic
        Drawing | Caricature | Cel Shaded Art | Character Design Sheet | Classicism Art | Color Field Painting |
        Colored Pencil Art | Conceptual Art | Constructivism | Cubism | Dadaism | Dark Fantasy | Dark Moody Atmosphere
        | Dmt Art Style | Doodle Art | Double Exposure | Dripping Paint Splatter Art | Expressionism | Faded Polaroid
        Photo | Fauvism | Flat 2d Art | Fortnite Art Style | Futurism | Glitchcore | Glo Fi | Googie Art Style |
        Graffiti Art | Harlem Renaissance Art | High Fashion | Idyllic | Impressionism | Infographic Drawing | Ink
        Dripping Drawing | Japanese Ink Drawing | Knolling Photography | Light Cheery Atmosphere | Logo Design |
        Luxurious Elegance | Macro Photography | Mandola Art | Marker Drawing | Medievalism | Minimalism | Neo Baroque
        | Neo Byzantine | Neo Futurism | Neo Impressionism | Neo Rococo | Neoclassicism | Op Art | Ornate And
        Intricate | Pencil Sketch Drawing | Pop Art 2 | Rococo | Silhouette Art | Simple Vector Art | Sketchup |
        Steampunk 2 | Surrealism | Suprematism | Terragen | Tranquil Relaxing Atmosphere | Sticker Designs | Vibrant
        Rim Light | Volumetric Lighting | Watercolor 2 | Whimsical And Playful
    """,
    "sdxl_styles_marc_k3nt3l": """
        Mk Chromolithography | Mk Cross Processing Print | Mk Dufaycolor Photograph | Mk Herbarium | Mk Punk Collage |
        Mk Mosaic | Mk Van Gogh | Mk Coloring Book | Mk Singer Sargent | Mk Pollock | Mk Basquiat | Mk Andy Warhol |
        Mk Halftone Print | Mk Gond Painting | Mk Albumen Print | Mk Aquatint Print | Mk Anthotype Print | Mk Inuit
        Carving | Mk Bromoil Print | Mk Calotype Print | Mk Color Sketchnote | Mk Cibulak Porcelain | Mk Alcohol Ink
        Art | Mk One Line Art | Mk Blacklight Paint | Mk Carnival Glass | Mk Cyanotype Print | Mk Cross Stitching | Mk
        Encaustic Paint | Mk Embroidery | Mk Gyotaku | Mk Luminogram | Mk Lite Brite Art | Mk Mokume Gane | Pebble Art
        | Mk Palekh | Mk Suminagashi | Mk Scrimshaw | Mk Shibori | Mk Vitreous Enamel | Mk Ukiyo E | Mk Vintage
        Airline Poster | Mk Vintage Travel Poster | Mk Bauhaus Style | Mk Afrofuturism | Mk Atompunk | Mk
        Constructivism | Mk Chicano Art | Mk De Stijl | Mk Dayak Art | Mk Fayum Portrait | Mk Illuminated Manuscript |
        Mk Kalighat Painting | Mk Madhubani Painting | Mk Pictorialism | Mk Pichwai Painting | Mk Patachitra Painting
        | Mk Samoan Art Inspired | Mk Tlingit Art | Mk Adnate Style | Mk Ron English Style | Mk Shepard Fairey Style
    """,
}
EXPECTED = {file: [name.strip() for name in " ".join(names.split()).split("|")] for file, names in STYLES.items()}
FOLDER = files("engine.prompt") / "data" / "sdxl_styles"
LOADED = {file: json.loads((FOLDER / f"{file}.json").read_text("utf-8")) for file in EXPECTED}
TEMPLATES = {style["name"]: style for styles in LOADED.values() for style in styles}
NEGATIVE_ONLY = ["Fooocus Enhance", "Fooocus Semi Realistic", "Fooocus Negative"]


def words(text):
    return [word for word in text.replace("{prompt}", " ").split() if word.strip(",.")]


@pytest.mark.parametrize("file", EXPECTED)
def test_a_style_file_has_fooocus_names_in_fooocus_order(file):
    assert [style["name"] for style in LOADED[file]] == EXPECTED[file]


def test_there_are_277_styles_and_no_other_file():
    assert len(TEMPLATES) == 277
    assert {path.name for path in FOLDER.iterdir()} == {f"{file}.json" for file in EXPECTED}


def test_seeded_random_styles_are_those_fooocus_draws():
    rng = random.Random(12345)
    assert [rng.choice(list(TEMPLATES)) for _ in range(2)] == ["Watercolor 2", "Fooocus Negative"]
    rng = random.Random(0)
    assert [rng.choice(list(TEMPLATES)) for _ in range(2)] == ["Op Art", "Mk Chromolithography"]


def test_only_three_styles_leave_the_prompt_alone():
    assert [name for name, style in TEMPLATES.items() if not style["prompt"]] == NEGATIVE_ONLY


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in NEGATIVE_ONLY])
def test_a_template_holds_the_prompt_once_and_8_to_20_words_around_it(name):
    text = TEMPLATES[name]["prompt"]
    assert text.count("{prompt}") == 1
    assert text.count("{") == text.count("}") == 1
    assert 8 <= len(words(text)) <= 20


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_negative_is_one_line_of_4_to_15_words(name):
    style = TEMPLATES[name]
    assert set(style) == {"name", "prompt", "negative_prompt"}
    assert 4 <= len(words(style["negative_prompt"])) <= 15
    assert "{" not in style["negative_prompt"]
    assert "\n" not in style["prompt"] + style["negative_prompt"]


@pytest.mark.parametrize("part", ["prompt", "negative_prompt"])
def test_no_two_styles_share_a_text(part):
    texts = [style[part] for style in TEMPLATES.values() if style[part]]
    assert len(set(texts)) == len(texts)


def test_no_style_text_is_the_end_of_another():
    """So the styles of a picture can be told from its text."""
    tails = [style["prompt"].removeprefix("{prompt}") for style in TEMPLATES.values() if style["prompt"]]
    assert not [(one, other) for one in tails for other in tails if one is not other and one.endswith(other)]
