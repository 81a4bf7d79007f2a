// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Which names may be registered
/// @notice An id is 1 to 64 and a fleet 1 to 32 characters of `[A-Za-z0-9._:-]`; `.`, `..` and `gateway` are reserved.
/// @dev Internal functions only: compiled into the contract that uses them.
library Identifiers {
    /// @notice The longest id of a device or a miner, in bytes.
    uint256 internal constant MAX_ID_BYTES = 64;

    /// @notice The longest name of a fleet, in bytes.
    uint256 internal constant MAX_FLEET_BYTES = 32;

    /// @dev Bit `c` is set when the byte `c` may stand in a name: `-`, `.`, `0` to `9`, `:`, `A` to `Z`, `_`, `a` to `z`.
    uint256 private constant ALPHABET = 0x07fffffe87fffffe07ff600000000000;

    /// @dev keccak256 of the reserved name `gateway`.
    bytes32 private constant GATEWAY = keccak256("gateway");

    /// @notice Whether `id` may name a device or a miner.
    function isId(string calldata id) internal pure returns (bool) {
        return _isName(id, MAX_ID_BYTES);
    }

    /// @notice Whether `fleet` may name a fleet.
    function isFleet(string calldata fleet) internal pure returns (bool) {
        return _isName(fleet, MAX_FLEET_BYTES);
    }

    function _isName(string calldata name, uint256 maxBytes) private pure returns (bool) {
        uint256 length = bytes(name).length;
        if (length == 0 || length > maxBytes) return false;
        if (_isReserved(bytes(name))) return false;
        uint256 allowed = 1;
        // In assembly for its price: 100 devices of 20 characters are 2,000 rounds. It reads calldata within `name` only.
        assembly ("memory-safe") {
            let end := add(name.offset, length)
            for { let at := name.offset } lt(at, end) { at := add(at, 1) } {
                allowed := and(allowed, shr(byte(0, calldataload(at)), ALPHABET))
            }
        }
        return allowed == 1;
    }

    function _isReserved(bytes calldata name) private pure returns (bool) {
        if (name.length == 1) return name[0] == ".";
        if (name.length == 2) return name[0] == "." && name[1] == ".";
        return name.length == 7 && keccak256(name) == GATEWAY;
    }
}
