//! The people, things and places of the word problems.

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;

/// Names of women and girls.
const SHE: &str = "Ada Amina Anna Beatriz Carla Chloe Daria Elena Emma Fatima Freya Grace Hana Ines \
                   Ingrid Jana Julia Keiko Leila Lina Lucia Maria Maya Mei Nadia Nora Olga Priya \
                   Rosa Sara Sofia Yara Zoe";

/// Names of men and boys.
const HE: &str = "Adam Ahmed Ben Carlos Daniel David Diego Emil Felix Finn George Hugo Ivan Jakub \
                  James Jonas Karim Kenji Leo Luca Marco Mateo Milan Noah Omar Oscar Paul Rafael \
                  Samuel Theo Tomas Viktor Wei";

/// Things that can be counted, in families that are got and lost in the same ways: verbs of getting,
/// verbs of losing, and the things (with the plural after a colon where it takes more than an s).
const THINGS: &[(&str, &str, &str)] = &[
    (
        "picked|bought|gathered|brought home",
        "ate|gave away|squeezed|used",
        "apple pear plum peach:peaches orange lemon lime mango:mangoes apricot fig cherry:cherries \
         strawberry:strawberries tomato:tomatoes pepper carrot onion potato:potatoes cucumber pumpkin \
         walnut chestnut mushroom",
    ),
    (
        "baked|made|bought|prepared",
        "ate|gave away|served|handed out",
        "cookie muffin pancake cupcake pretzel bagel scone waffle dumpling tart pie sandwich:sandwiches \
         doughnut pastry:pastries bread_roll",
    ),
    (
        "collected|found|bought|traded for",
        "gave away|lost|traded away|mailed off",
        "stamp sticker shell postcard marble coin badge comic football_card feather pebble fossil \
         keyring photograph poster dinosaur_figure",
    ),
    (
        "made|finished|painted|put together",
        "gave away|broke|lent out|took apart",
        "paper_crane kite bracelet necklace:necklaces candle basket vase:vases scarf:scarves \
         lantern puppet mask birdhouse:birdhouses toy_boat clay_pot quilt wooden_spoon picture_frame \
         model_plane",
    ),
    (
        "bought|ordered|found|received",
        "used up|lost|lent out|gave away",
        "pencil notebook eraser crayon marker envelope ribbon balloon button ruler folder paintbrush:paintbrushes \
         light_bulb battery:batteries nail screw tile brick plank \
         bottle jar cup plate towel sponge",
    ),
    (
        "planted|grew|bought|picked",
        "sold|gave away|replanted|lost",
        "tulip rose daisy:daisies sunflower lily:lilies fern cactus:cacti seedling herb daffodil orchid \
         violet",
    ),
    (
        "borrowed|bought|found|was given",
        "returned|gave away|lent out|sold",
        "book magazine puzzle board_game record toy_car doll novel cookbook map film guidebook",
    ),
];

/// What is measured: the stuff, its unit, and what is done with it.
const STUFF: &[(&str, &str)] = &[
    ("water milk apple_juice lemonade olive_oil paint soup vinegar petrol honey rainwater syrup", "litres"),
    ("flour rice sugar sand compost coffee salt birdseed cement clay oats wool hay", "kilograms"),
    ("rope ribbon cloth wire string yarn hose pipe fishing_line canvas", "metres"),
];

/// People who come and go, and where.
const CROWDS: &[(&str, &str)] = &[
    ("passengers", "on the train|on the ferry|on the bus|on the tram"),
    ("visitors", "in the museum|in the zoo|in the castle|at the exhibition"),
    ("students", "in the hall|in the library|on the playground|at the science fair"),
    ("guests", "at the wedding|in the hotel|at the birthday party|at the dinner"),
    ("fans", "in the stadium|at the concert|in the arena"),
    ("children", "in the park|at the summer camp|in the swimming pool"),
    ("runners", "at the race|on the track"),
    ("shoppers", "in the shop|in the market hall"),
    ("dancers", "in the studio|on the stage"),
    ("campers", "at the camp site|by the lake"),
];

/// Ways to travel, with the least and the greatest usual speed in kilometres an hour.
const TRAVEL: &[(&str, u32, u32)] = &[
    ("walked", 3, 6),
    ("hiked", 3, 5),
    ("jogged", 7, 11),
    ("cycled", 10, 24),
    ("skated", 9, 18),
    ("sailed", 8, 20),
    ("paddled", 4, 8),
    ("rode", 8, 16),
    ("drove", 40, 90),
    ("travelled by train", 60, 120),
];

const PLACES: &str = "at the market|at school|in the garden|at home|in the village|at the fair|at the club|\
                      on the farm|in the workshop|in town|at the harbour|at a friend's house|at the office|\
                      in the park|at the community centre|at camp";
const BOXES: &str = "box:boxes bag basket crate tray jar tin drawer bucket pack";
const TOWNS: &str = "the coast|the next town|the lake|the mountains|the capital|the old mill|the lighthouse|\
                     the forest|the border|the river|the airport|the castle";
const SOMEONE: &str = "a friend|a neighbour|{his} sister|{his} brother|{his} cousin|a classmate|{his} aunt|\
                       {his} uncle|{his} grandmother|the teacher|a colleague|a stranger";
const CURRENCIES: &str = "$|dollars|euros|pounds|crowns|francs";

/// A person as sentences refer to them: name, subject, object, possessive.
#[derive(Clone, Copy)]
pub struct Person {
    /// The name.
    pub name: &'static str,
    /// "she", "her", "her" or "he", "him", "his".
    pub pronouns: [&'static str; 3],
}

/// The words of one problem.
pub struct Cast {
    /// Whom the story is about, and the other one; never of the same gender, so that "she" is clear.
    pub people: [Person; 2],
    /// One of the countable things, and many of them.
    pub thing: (String, String),
    /// Verbs for getting them and for losing them, `|` between.
    pub verbs: (&'static str, &'static str),
    /// Something else that can be bought.
    pub goods: String,
    /// What holds the things: one and many.
    pub vessel: (String, String),
    /// Something measured, and its unit.
    pub stuff: (String, &'static str),
    /// People who come and go.
    pub crowd: &'static str,
    /// Where they are.
    pub venue: &'static str,
    /// Where the story happens.
    pub place: &'static str,
    /// How people travel.
    pub travel: (&'static str, u32, u32),
    /// Where to.
    pub town: &'static str,
    /// The unit of money; `$` goes before the number.
    pub currency: &'static str,
}

impl Cast {
    /// Draws the words of one problem.
    pub fn draw(random: &mut ChaCha8Rng) -> Self {
        let she = Person { name: word(SHE, random), pronouns: ["she", "her", "her"] };
        let he = Person { name: word(HE, random), pronouns: ["he", "him", "his"] };
        let things = any(THINGS, random);
        let (stuffs, unit) = any(STUFF, random);
        let (crowd, venues) = any(CROWDS, random);
        Self {
            people: if random_bool(random) { [she, he] } else { [he, she] },
            thing: noun(word(things.2, random)),
            verbs: (things.0, things.1),
            goods: noun(word(any(THINGS, random).2, random)).1,
            vessel: noun(word(BOXES, random)),
            stuff: (word(stuffs, random).replace('_', " "), unit),
            crowd,
            venue: phrase(venues, random),
            place: phrase(PLACES, random),
            travel: any(TRAVEL, random),
            town: phrase(TOWNS, random),
            currency: phrase(CURRENCIES, random),
        }
    }
}

/// Somebody without a name; the possessive is still a slot.
pub fn someone(random: &mut ChaCha8Rng) -> &'static str {
    phrase(SOMEONE, random)
}

/// One of several phrases with `|` between them.
pub fn phrase(phrases: &'static str, random: &mut ChaCha8Rng) -> &'static str {
    any(&phrases.split('|').collect::<Vec<_>>(), random)
}

/// Any of a list; the lists are constants and none is empty.
pub fn any<T: Copy + Default>(list: &[T], random: &mut ChaCha8Rng) -> T {
    list.choose(random).copied().unwrap_or_default()
}

fn word(words: &'static str, random: &mut ChaCha8Rng) -> &'static str {
    any(&words.split_whitespace().collect::<Vec<_>>(), random)
}

fn random_bool(random: &mut ChaCha8Rng) -> bool {
    any(&[true, false], random)
}

/// Singular and plural of a noun as the lists have it.
fn noun(entry: &str) -> (String, String) {
    let (one, many) = match entry.split_once(':') {
        Some((one, many)) => (one.to_owned(), many.to_owned()),
        None => (entry.to_owned(), format!("{entry}s")),
    };
    (one.replace('_', " "), many.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_enough_people_and_things_and_none_twice() {
        let names: Vec<_> = SHE.split_whitespace().chain(HE.split_whitespace()).collect();
        assert!(names.len() >= 60);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let things: Vec<_> = THINGS.iter().flat_map(|group| group.2.split_whitespace()).collect();
        assert!(things.len() >= 100);
        assert_eq!(things.iter().collect::<HashSet<_>>().len(), things.len());
    }

    #[test]
    fn plurals_follow_the_entry() {
        assert_eq!(noun("peach:peaches"), ("peach".into(), "peaches".into()));
        assert_eq!(noun("toy_boat"), ("toy boat".into(), "toy boats".into()));
    }
}
