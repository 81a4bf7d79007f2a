// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Which public keys may be registered
/// @notice Points that are on their curve, canonically encoded and not of small order; nothing else.
/// @dev Internal functions only: compiled into the contract that uses them.
library PublicKeys {
    /// @dev 2^255 - 19, the prime of the field of Ed25519 (RFC 8032, section 5.1).
    uint256 private constant P25519 = 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed;

    /// @dev The constant d of the curve -x^2 + y^2 = 1 + d x^2 y^2.
    uint256 private constant D25519 = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3;

    /// @dev y of a point of order eight; its negative is y of the others.
    uint256 private constant Y_OF_ORDER_EIGHT = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826;

    /// @notice Whether `key` is an Ed25519 public key (RFC 8032, section 5.1.2) that a strict verifier would take.
    /// @dev Canonical: y < p. Small order: y is 0, 1, -1 or one of two more; with 1 and -1 gone x is never 0, so that
    /// its sign bit cannot be non-canonical. On the curve: x^2 = u / v is a square, which is to say that u v is one.
    /// A point of mixed order is not refused.
    function isEd25519(bytes32 key) internal view returns (bool) {
        uint256 y = _reversed(uint256(key)) & (type(uint256).max >> 1);
        if (y >= P25519 || y <= 1 || y == P25519 - 1) return false;
        if (y == Y_OF_ORDER_EIGHT || y == P25519 - Y_OF_ORDER_EIGHT) return false;
        uint256 ySquared = mulmod(y, y, P25519);
        uint256 u = addmod(ySquared, P25519 - 1, P25519);
        uint256 v = addmod(mulmod(D25519, ySquared, P25519), 1, P25519);
        return Math.modExp(mulmod(u, v, P25519), (P25519 - 1) / 2, P25519) == 1;
    }

    /// @notice Whether `key` is an uncompressed P-256 public key: `0x04 || x || y`, 65 bytes (SEC 1, section 2.3.3).
    function isP256(bytes calldata key) internal pure returns (bool) {
        return key.length == 65 && key[0] == 0x04 && P256.isValidPublicKey(bytes32(key[1:33]), bytes32(key[33:65]));
    }

    /// @dev The 32 bytes of `word` in the other order: Ed25519 is little-endian, the EVM is not.
    function _reversed(uint256 word) private pure returns (uint256) {
        uint256 mask = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        word = ((word >> 8) & mask) | ((word & mask) << 8);
        mask = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        word = ((word >> 16) & mask) | ((word & mask) << 16);
        mask = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
        word = ((word >> 32) & mask) | ((word & mask) << 32);
        mask = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        word = ((word >> 64) & mask) | ((word & mask) << 64);
        return (word >> 128) | (word << 128);
    }
}
