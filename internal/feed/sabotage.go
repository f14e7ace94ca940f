package feed

// sabotage is a fault that tests plant, to see that they find it.
type sabotage int

const (
	_                sabotage = iota
	sendUnrecorded            // a call is not on disk before it begins
	forgetfulWindow           // a record is sent again however long ago its first call was
	dropCarry                 // what is below the smallest unit is lost
	sentApart                 // what was sent is recorded in a transaction before the records
	newMappingForAll          // a new mapping is used for hours that were sent by another
	linesForgotten            // a line is forgotten before it is written
	countTwice                // a result is settled again after a change that failed and was made
)
