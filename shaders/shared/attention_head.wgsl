// Where the lines of a head lie, which keys its queries see, and how its scores are bent. A shader says how many pieces, read at once, a
// line has: const PIECES: u32 = ..;

// One head of a tensor [batch, lines, heads, HEAD], in pieces.
struct Head { base: u32, stride: u32, last: u32 }

fn head_of(batch: u32, lines: u32, heads: u32, head: u32) -> Head {
    return Head((batch * lines * heads + head) * PIECES, heads * PIECES, lines - 1u);
}

// Where a piece of a line is; past the last line, that of the last.
fn place(head: Head, line: u32, piece: u32) -> u32 {
    return head.base + min(line, head.last) * head.stride + piece;
}

// Which keys queries see, by their positions.
fn sees(query: vec4u, key: vec4u) -> vec4<bool> {
    let window = select(params.window, 0xffffffffu, params.window == 0u);
    return (key <= query) & (query - key < vec4u(window));
}

// The first key that the query of position `own` sees.
fn first_seen(own: u32) -> u32 {
    return select(own + 1u - min(params.window, own + 1u), 0u, params.window == 0u);
}

// Scores as the softmax sees them, of products.
fn bent(products: vec4f) -> vec4f {
    let scores = params.scale * products;
    let cap = params.cap;
    if cap > 0.0 {
        return cap * tanh(clamp(scores / cap, vec4f(-15.0), vec4f(15.0)));   // Some drivers overflow further out.
    }
    return scores;
}
