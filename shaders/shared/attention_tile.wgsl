// What the passes of tiled attention share. A workgroup of X x Y threads holds a tile of 4Y x 4X scores, rows by columns: thread
// (x, y) those of rows 4y to 4y + 3 and columns 4x to 4x + 3. Operands come through workgroup memory, DEPTH pieces of each line at a
// time for the scores, and some whole lines at a time for the weighted sums, so that 16 KiB do for heads of every width.
// A shader says what its operands are: fn operand(number: u32, at: u32) -> Piece.

alias Piece = vec4f;                                             // what is read and written at once: vec4f, or f32
alias Stored = vec4f;                                            // as buffers have it: that, or as many f16
const PIECE: u32 = 4u;                                           // elements of it
const HEAD: u32 = 64u;                                           // width of a head
const PIECES: u32 = HEAD / PIECE;
const X: u32 = 8u;
const Y: u32 = 16u;
const ROWS: u32 = 4u * Y;
const COLUMNS: u32 = 4u * X;
const PER: u32 = (PIECES + X - 1u) / X;                          // pieces of a line that a thread sums
const DEPTH: u32 = 4u;
const LINE: u32 = DEPTH + 1u;                                    // Neighbouring lines begin in other banks.
const SIZE: u32 = max(512u, 4u * PIECES);
const LINES: u32 = min(COLUMNS, SIZE / PIECES / 4u * 4u);        // whole lines at a time
var<workgroup> tile: array<Piece, SIZE>;                         // [ROWS + COLUMNS, LINE] or [LINES, PIECES]
var<workgroup> weights: array<vec4f, ROWS * X>;                  // [ROWS, COLUMNS], or a vec4 a thread

// Products of operand a's lines from row0 on with operand b's from column0 on.
fn products(a: u32, rows: Head, row0: u32, b: u32, columns: Head, column0: u32, local: vec2u) -> array<vec4f, 4> {
    var sums: array<vec4f, 4>;
    for (var first = 0u; first < PIECES; first += DEPTH) {
        workgroupBarrier();
        for (var i = local.y * X + local.x; i < (ROWS + COLUMNS) * DEPTH; i += X * Y) {
            let piece = first + i % DEPTH;
            var line = i / DEPTH;
            var value = Piece();
            if piece < PIECES {
                if line < ROWS {
                    value = operand(a, place(rows, row0 + line, piece));
                } else {
                    value = operand(b, place(columns, column0 + line - ROWS, piece));
                }
            }
            if line >= ROWS {
                // Four columns of a thread lie X lines apart, so that neighbouring threads read neighbouring lines.
                line = ROWS + (line - ROWS) % 4u * X + (line - ROWS) / 4u;
            }
            tile[line * LINE + i % DEPTH] = value;
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let at = (ROWS + local.x) * LINE + d;
            let b0 = vec4f(tile[at]);
            let b1 = vec4f(tile[at + X * LINE]);
            let b2 = vec4f(tile[at + 2u * X * LINE]);
            let b3 = vec4f(tile[at + 3u * X * LINE]);
            for (var i = 0u; i < 4u; i++) {
                let a = vec4f(tile[(4u * local.y + i) * LINE + d]);
                sums[i] += vec4f(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
            }
        }
    }
    // An f32 became a vec4f of four times itself.
    for (var i = 0u; i < 4u; i++) {
        sums[i] *= f32(PIECE) / 4.0;
    }
    return sums;
}

// Pieces x, x + X, .. of rows 4y to 4y + 3: += `weights` times operand number `number`'s lines from `line0` on.
fn add_weighted(number: u32, head: Head, line0: u32, local: vec2u, sums: ptr<function, array<Piece, 4u * PER>>) {
    for (var first = 0u; first < COLUMNS; first += LINES) {
        let count = min(LINES, COLUMNS - first);
        workgroupBarrier();
        for (var i = local.y * X + local.x; i < count * PIECES; i += X * Y) {
            tile[i] = operand(number, place(head, line0 + first + i / PIECES, i % PIECES));
        }
        workgroupBarrier();
        for (var line = 0u; line < count; line += 4u) {
            let at_w = 4u * local.y * X + (first + line) / 4u;
            let w0 = weights[at_w];
            let w1 = weights[at_w + X];
            let w2 = weights[at_w + 2u * X];
            let w3 = weights[at_w + 3u * X];
            for (var j = 0u; j < PER; j++) {
                let at_v = line * PIECES + min(local.x + X * j, PIECES - 1u);
                let v0 = tile[at_v];
                let v1 = tile[at_v + PIECES];
                let v2 = tile[at_v + 2u * PIECES];
                let v3 = tile[at_v + 3u * PIECES];
                (*sums)[j] += w0.x * v0 + w0.y * v1 + w0.z * v2 + w0.w * v3;
                (*sums)[PER + j] += w1.x * v0 + w1.y * v1 + w1.z * v2 + w1.w * v3;
                (*sums)[2u * PER + j] += w2.x * v0 + w2.y * v1 + w2.z * v2 + w2.w * v3;
                (*sums)[3u * PER + j] += w3.x * v0 + w3.y * v1 + w3.z * v2 + w3.w * v3;
            }
        }
    }
}

// The sum of `each` over the threads of a row.
fn row_sum(each: vec4f, local: vec2u) -> vec4f {
    workgroupBarrier();
    weights[local.y * X + local.x] = each;
    workgroupBarrier();
    var sum = vec4f();
    for (var x = 0u; x < X; x++) {
        sum += weights[local.y * X + x];
    }
    workgroupBarrier();
    return sum;
}
