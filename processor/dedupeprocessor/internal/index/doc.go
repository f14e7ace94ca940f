// Package index keeps which events were let through within a window, and the payload of each, in files that never change.
//
// The folder index2 of the directory has files of entries. An entry is a hash (16 bytes) of an event's identity and the digest of its payload (16). The hash is XXH3-128,
// big endian, of the customer's length (uvarint), the customer and the event's id. All other numbers are little endian.
//
// Entries are in generations, which are numbered from 1, by the time at which they came; a generation is forgotten by removing its files. A file's name is
// GGGGGGGGGG-AAAAAAAAAA-BBBBBBBBBB.known, in decimal: its generation, and that it has what came as number A to B of that generation. Within a generation a file that has all
// that another has replaces it: the other is removed. What ends in .new is not finished.
//
//	pages    1,024 bytes each: 31 entries, ascending by hash, or what is left of them in the last page; zeros; from byte 1,012 on its number, counted from 0 (8), and the
//	         checksum (4) of all before
//	filter   blocks of 64 bytes
//	tail     4 bytes for each page: the first 4 bytes, as a big-endian number, of its first hash
//	         4 bytes for each 1,024 blocks: their checksum
//	end      64 bytes: "UBXdedup", first time (8) and last time (8) at which entries came, in nanoseconds since 1970; number of entries (8), of blocks (8); zeros (16);
//	         the tail's checksum (4), and that of the 60 bytes before (4)
//
// A checksum is the CRC-32C of G, A and B (4 bytes each) and the bytes that it is of: what belongs to another file is damage.
//
// An entry's block is number p·n/2^64 of n, where p is the first 8 bytes of its hash, big endian. It sets three bits in each of two 64-bit numbers of the block: with v the last 8
// bytes, big endian, those are number v mod 4 and 4 + v/4 mod 4, and the bits v/2^4 mod 64, v/2^10, v/2^16, and v/2^22, v/2^28, v/2^34. There are 16 bits for each entry,
// and of a thousand hashes that a file does not have one or two seem to be there.
//
// Versions: a folder index is of version 1, an embedded store, and is removed; of a folder with a greater number than 2 the directory is refused.
package index
