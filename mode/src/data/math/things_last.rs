//! Acts that end a story about things that somebody has.

use super::act::{Act, Kind, Shape};

/// The acts; the slots are those of [`super::story`].
pub const ENDINGS: &[Act] = &[
    Act {
        key: "goal",
        from: Some(Kind::Things),
        to: Kind::Things,
        shape: Shape::Goal,
        turns: false,
        tells: &[
            "^{who} wanted to have {a} {things} in the end",
            "^{someone} asked {whom} for {a} {things} altogether",
            "^for the school fair, {who} needed {a} {things}",
            "^the {box} {who} wanted to fill had room for {a} {things}",
        ],
        asks: &[
            "how many more {things} did {name} need",
            "how many {things} were still missing",
            "how many {things} did {name} still have to get",
        ],
        works: &["{e1} {things} were missing", "{name} needed {e1} more", "to get there takes {e1} {things}"],
    },
    Act {
        key: "with-times",
        from: Some(Kind::Things),
        to: Kind::Things,
        shape: Shape::WithTimes,
        turns: false,
        tells: &[
            "^{other} had {times} as many {things} as {name}",
            "^{other} {got} {times} as many {things} as {name} had",
            "^meanwhile {other} had put together {times} as many {things} as {name}",
            "^compared with {name}, {other} had {times} as many {things}",
        ],
        asks: &[
            "how many {things} did {name} and {other} have together",
            "how many {things} did the two of them have in total",
            "how many {things} did they have altogether",
        ],
        works: &[
            "{other} had {e1} {things}, and both had {e2}",
            "{e1} belonged to {other}; together they had {e2}",
            "that is {e1} for {other} and {e2} for the two of them",
        ],
    },
    Act {
        key: "with-more",
        from: Some(Kind::Things),
        to: Kind::Things,
        shape: Shape::WithMore,
        turns: false,
        tells: &[
            "^{other} had {a} more {things} than {name}",
            "^{other} {got} {a} {things} more than {name} had",
            "^meanwhile {other} had {a} {things} more than {name}",
        ],
        asks: &[
            "how many {things} did {name} and {other} have together",
            "how many {things} did the two of them have in total",
            "what was the number of {things} that they had together",
        ],
        works: &[
            "{other} had {e1} {things}, and both had {e2}",
            "{e1} belonged to {other}; together they had {e2}",
            "that is {e1} for {other} and {e2} for the two of them",
        ],
    },
    Act {
        key: "pack",
        from: Some(Kind::Things),
        to: Kind::Things,
        shape: Shape::Share,
        turns: false,
        tells: &[
            "{who} packed all the {things} into {boxes} of {a}",
            "{who} put the {things} into {boxes}, {a} into each",
            "every {box} could hold {a} {things}, and {who} packed them all",
            "{who} arranged all the {things} in rows of {a}",
        ],
        asks: &[
            "how many groups of {a} were there",
            "into how many groups did the {things} go",
            "how many times did {name} count out {a} {things}",
        ],
        works: &["that takes {e1} groups of {a}", "{a} at a time makes {e1}", "the number of groups is {e1}"],
    },
    Act {
        key: "each",
        from: Some(Kind::Things),
        to: Kind::Things,
        shape: Shape::Share,
        turns: false,
        tells: &[
            "{who} divided all the {things} equally among {a} friends",
            "{a} children shared the {things} equally",
            "{who} spread the {things} evenly over {a} {boxes}",
            "^there were {a} people {place}, and all of them were given the same number of {things} until none were left",
        ],
        asks: &["how many {things} were in each share", "how many {things} was one share", "how large was each share"],
        works: &["each share was {e1}", "dividing by {a} gives {e1} {things} each", "{e1} {things} went to each"],
    },
];
