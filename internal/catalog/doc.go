// Package catalog is what usage costs and what it is charged at: rates in files that anyone can change, and the exact amount that
// they give for an event.
//
// # Books
//
// There are two books. cost is what usage costs us, at the provider's rates; price is what the customer is charged, at ours. Each line
// of an event gets an amount in each book from the one rate that fits it best.
//
// # The order of rates
//
// A rate fits a line when all that it names in match is so, and the event's own time lies in its effective range (from inclusive, until
// exclusive). Of those that fit, the first by these counts, each only where those before it are equal:
//
//  1. the catalogue itself before the built-in one below it
//  2. names the customer
//  3. names the plan
//  4. names the model: as the event has it, by an alias, without its date, by a model's pattern, by a pattern in the rate (the longer text
//     first), not at all
//  5. names the provider, the meter, the operation, the feature, the agent, the step, the service, the user, batch, service_tier, region,
//     in this order
//  6. names more other dimensions
//  7. is for certain hours of the day
//
// Two that are equal in all of these and could fit one line at one time are an error that names both places.
//
// Some meters are a part of another one: reasoning, audio and image tokens of an answer of llm_tokens_out; cached, audio and image tokens
// of a question of llm_tokens_in. A line of such a meter that no rate names, or only a rate that names the model less well than one for the
// whole does, has the rate of the whole. So providers that bill reasoning as output, or cached tokens in full, are billed right, and
// a rate for the part, where there is one, goes before.
//
// # Amounts
//
// amount = quantity × price / per, exact, rounded once, to 12 decimals, half to even. It is computed in 128 bits; what has more than 18
// digits is no amount: the line is unpriced. A mark-up is taken of the cost as it is stored. An amount depends on the event and the catalogue
// alone. So what depends on the total of a period (tiers over the period, included quantities) has no amount here: the line is
// marked as the period's and left to it.
//
// # Versions
//
// A catalogue's version is the first 16 hexadecimal digits of the SHA-256 of its canonical form (Canonical), the built-in catalogue
// below it included; comments, the order of keys and the division into files take no part. The canonical form is a catalogue itself and
// has the same version. A Charge's Rate is version/id.
package catalog
